//! The Internet checksum (RFC 1071).

use std::net::IpAddr;

/// The checksum of these parts one after the other; all but the last are of even length. Of bytes that hold
/// their own right checksum it is zero.
pub(super) fn of(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum = words.fold(0u32, |sum, w| sum + u32::from(w[0]) * 256 + u32::from(*w.get(1).unwrap_or(&0)));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of a message and the pseudo-header that goes with it (RFC 9293 section 3.1, RFC 8200 section
/// 8.1). Both addresses are of one family.
pub(super) fn with_pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    // The length and protocol of IPv4's pseudo-header are narrower: the same sum.
    let tail = [message.len() as u32, u32::from(protocol)].map(u32::to_be_bytes);
    of(&[&octets(source), &octets(destination), tail.as_flattened(), message])
}

/// The bytes of an address.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(of(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(of(&[&[0x01]]), !0x0100);
    }
}
