//! kube-proxy, as far as it is pure.

/// The names of findings of this room, stable for ever, with what they are about.
pub const NAMES: &[(&str, &str)] = &[];
