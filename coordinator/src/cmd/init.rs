//! `rackwright init`.
