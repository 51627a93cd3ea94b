//! The one test binary: end to end, against real parts. The stand-ins are in this package's library.

#![allow(clippy::unwrap_used)]

/// Tests of what every Pub/Sub does: each of these functions on the local one, and on Google's emulator where it is
/// installed.
macro_rules! on_every_pubsub {
    ($($name:ident),+ $(,)?) => {
        mod on_the_local_pubsub {
            $(#[tokio::test]
            async fn $name() {
                super::$name(tests::Bus::shared()).await;
            })+
        }

        mod on_the_emulator {
            $(#[tokio::test]
            async fn $name() {
                if let Some(emulator) = tests::Emulator::shared() {
                    super::$name(emulator).await;
                }
            })+
        }
    };
}

mod bus;
mod callers;
#[cfg(unix)]
mod cross;
mod deploy;
mod dev;
mod faults;
mod function;
mod google;
mod ledger;
mod letters;
mod load;
mod mixed;
mod payload;
mod pull;
mod reading;
mod sink;
mod verbs;
