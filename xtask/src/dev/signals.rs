//! Signals that request shutdown.

use anyhow::Result;
use tokio::sync::mpsc;

/// Receives SIGINT, SIGTERM and SIGHUP. The third signal ends this process at once.
pub(super) fn signals() -> Result<mpsc::Receiver<()>> {
    let (send, receive) = mpsc::channel(2);
    #[cfg(unix)]
    let mut kinds = {
        use anyhow::Context as _;
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("listening for signals");
        [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]
    };
    tokio::spawn(async move {
        for count in 1.. {
            #[cfg(unix)]
            {
                let [interrupt, terminate, hangup] = &mut kinds;
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            }
            #[cfg(not(unix))]
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            let _ = send.try_send(());
            if count > 2 {
                std::process::exit(130);
            }
        }
    });
    Ok(receive)
}
