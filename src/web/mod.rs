//! The HTTP server: health and readiness checks. Decides nothing about imports.

mod listener;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Web;
use crate::store::Store;
use listener::LimitedListener;

/// A server that is bound to its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the configured address, or else the default address. Returns `None` if the default address can't be bound.
    ///
    /// # Errors
    /// If a configured address can't be bound.
    pub async fn bind(web: &Web) -> std::io::Result<Option<Self>> {
        let bound = TcpListener::bind(web.listen.as_deref().unwrap_or(Web::DEFAULT_LISTEN)).await;
        let listener = match bound {
            Ok(listener) => listener,
            Err(error) if web.listen.is_none() => {
                tracing::warn!(address = Web::DEFAULT_LISTEN, %error, "health checks are not served: the default address can't be used; set `web.listen` to another address");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let address = listener.local_addr()?;
        Ok(Some(Self { listener, address }))
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` is canceled.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(self, store: Store, stop: CancellationToken) -> std::io::Result<()> {
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(store);
        axum::serve(LimitedListener(self.listener), router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn ready(State(store): State<Store>) -> (StatusCode, String) {
    match store.check_migrated().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
