//! stand-in
pub mod topology;
