//! Doors and words, against a TLS server on loopback.

mod failover;
mod kubeconfigs;
mod server;
mod tls;
mod words;
