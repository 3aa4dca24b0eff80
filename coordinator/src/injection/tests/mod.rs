mod lint;
mod log;
mod pods;
mod wins;
