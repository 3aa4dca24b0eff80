//! What a Corefile means, what an edit changes, and what neither ever does.

mod edit;
mod random;
mod shape;
