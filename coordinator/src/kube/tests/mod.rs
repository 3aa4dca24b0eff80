//! Doors and words, against a TLS server on loopback.

mod failover;
mod injection;
mod kubeconfigs;
mod server;
mod tls;
mod words;
