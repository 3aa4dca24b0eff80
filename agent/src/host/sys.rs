//! The few kernel calls that no library offers safely. The only module of the agent with `unsafe` in it.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::libc;
use nix::sys::socket::{LinkAddr, SockaddrLike as _};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The packet(7) address of a link: EtherType (host order), link index, and the MAC address to send to.
pub(super) fn link_address(index: u32, ethertype: u16, to: [u8; 6]) -> LinkAddr {
    let mut sll_addr = [0; 8];
    sll_addr[..6].copy_from_slice(&to);
    let raw = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr,
    };
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a live, fully initialised sockaddr_ll of the size and family given; it is
    // copied out before this function returns.
    let address = unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(size)) };
    address.expect("a sockaddr_ll of family AF_PACKET is a LinkAddr")
}

/// One instruction of a classic BPF program (`linux/filter.h`).
pub(super) fn instruction(code: u32, jump_true: u8, jump_false: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k }
}

/// Lets only those packets into a socket that a classic BPF program accepts (`SO_ATTACH_FILTER`, socket(7)).
pub(super) fn attach_filter(socket: impl AsFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the descriptor is open while `socket` is borrowed; `filter` and the program that it points to
    // live until the call returns, and the kernel copies both.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends packets of a socket as they are: with `Don't Fragment`, whatever the kernel remembers of the way (ip(7):
/// `IP_PMTUDISC_PROBE`).
pub(super) fn never_fragment(socket: impl AsFd) -> io::Result<()> {
    let value: libc::c_int = libc::IP_PMTUDISC_PROBE;
    // SAFETY: the descriptor is open while `socket` is borrowed; the pointer is to a live integer of the size given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel holds its clock for synchronised (adjtimex(2): `STA_UNSYNC` is clear). Changes nothing.
pub(super) fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: timex is plain integers, for which all zeroes is a value; its `modes` of 0 asks to read only.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live timex, which the kernel fills before the call returns.
    match unsafe { libc::adjtimex(&raw mut timex) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(timex.status & libc::STA_UNSYNC == 0),
    }
}

/// Lets tokio say when a descriptor has something to read. It must not block.
pub(super) fn awaited(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays open, and the same descriptor, for as long as the AsyncFd owns it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// Has a program killed when the thread that starts it ends, however that ends (prctl(2), `PR_SET_PDEATHSIG`).
pub(super) fn dies_with_us(command: &mut tokio::process::Command) {
    let here = std::process::id();
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, which are safe to call there, and
    // nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // It may have ended already: then nobody would send the signal.
            match nix::unistd::getppid().as_raw() as u32 == here {
                true => Ok(()),
                false => Err(io::ErrorKind::BrokenPipe.into()),
            }
        });
    }
}
