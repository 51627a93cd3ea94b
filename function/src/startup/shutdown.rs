//! The end of the process: from the stop signal to the transports.

use tokio::sync::watch;

/// Tells everything that accepts work to stop. It begins once, and stays begun.
#[derive(Debug)]
pub(super) struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Ready when the shutdown has begun.
    pub(super) fn begun(&self) -> impl Future<Output = ()> + use<> {
        let mut begun = self.0.subscribe();
        async move {
            // An error says that the sender is dropped, at the end of the program.
            let _ = begun.wait_for(|begun| *begun).await;
        }
    }
}

/// Ready at SIGTERM, which Cloud Run and Kubernetes send, or at Ctrl-C.
pub(super) async fn stop_signal() {
    use tokio::signal;
    let interrupt = async {
        if signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
