//! The engine as real processes of the real binary, on a tree that looks like a machine's.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests make and look at the tree by other means than ours"
)]
#![expect(clippy::unwrap_used, reason = "a test may break")]

mod crash;
mod order;
mod protocol;
mod receipts;
mod risky;
mod tree;
