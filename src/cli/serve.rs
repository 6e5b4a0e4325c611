//! `rosterd serve` starts and stops the daemon; `rosterd healthcheck` asks a running daemon whether it is ready.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::app::{self, importer, mailer};
use super::{Exit, output};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, Web};
use crate::dispatch::Dispatcher;
use crate::embedded::Role;
use crate::import::StopPolicy;
use crate::lifecycle::{self, Lifecycle};
use crate::store::{Retention, Store, StoreError};
use crate::web::Server;

pub(super) async fn run(config: Config, migrate: bool) -> anyhow::Result<Exit> {
    let lifecycle = Lifecycle::listen().context("cannot install the signal handlers")?;
    let (url, embedded) = app::resolve_database(&config, Role::Daemon).await?;
    let served = match connect(&config, &url, migrate, &lifecycle).await {
        Ok(Some(store)) => serve(&config, store, &lifecycle).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    app::stop_embedded(embedded).await;
    served?;
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// Connects to the database and waits while it is unreachable. Returns `None` if the daemon is stopped in the meantime.
async fn connect(
    config: &Config,
    url: &secrecy::SecretString,
    migrate: bool,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Option<Store>> {
    let mut logged = false;
    while !lifecycle.soft.is_cancelled() {
        let error = match Store::connect(
            url,
            config.database.max_connections,
            Duration::from_secs(10),
        )
        .await
        {
            Ok(store) if migrate => match store.migrate().await {
                Ok(()) => return Ok(Some(store)),
                Err(error) => error,
            },
            Ok(store) => match store.check_migrated().await {
                Ok(()) => return Ok(Some(store)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !matches!(error, StoreError::Unreachable(_)) {
            return Err(error.into());
        }
        if !logged {
            tracing::error!(%error, "waiting for the database; connecting again every second");
            logged = true;
        }
        tokio::select! {
            () = lifecycle.soft.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    Ok(None)
}

async fn serve(config: &Config, store: Store, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let importer = Arc::new(importer(
        config,
        store.clone(),
        Arc::clone(&clock),
        StopPolicy::Requeue,
    )?);
    let mailer = mailer(config)?.map(Arc::new);
    match &mailer {
        None => tracing::warn!("`smtp.url` is not set, so mail stays queued"),
        Some(mailer) if mailer.exposes_password() => tracing::warn!(
            "the password in `smtp.url` is sent without encryption; use smtps:// or smtp+starttls://"
        ),
        Some(_) => {}
    }
    if let Some(server) = Server::bind(&config.web)
        .await
        .context("cannot listen on the address in `web.listen`")?
    {
        tracing::info!("listening on http://{}", server.address());
        let (store, stop) = (store.clone(), lifecycle.soft.clone());
        lifecycle::spawn_detached(async move {
            if let Err(error) = server.serve(store, stop).await {
                tracing::error!(%error, "the HTTP server has stopped");
            }
        });
    }
    let dispatcher = Dispatcher::new(
        importer,
        mailer,
        clock,
        lifecycle.clone(),
        config.import.max_concurrent,
        Retention {
            removed_days: config.retention.removed_days,
            issues_days: config.retention.issues_days,
            runs_days: config.retention.runs_days,
            outbox_days: config.retention.outbox_days,
        },
    );
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    lifecycle::notify_ready();
    dispatcher
        .serve()
        .await
        .context("cannot start the dispatcher")?;
    store.close().await;
    Ok(())
}

pub(super) async fn healthcheck(config: &Config) -> anyhow::Result<Exit> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listen = config.web.listen.as_deref().unwrap_or(Web::DEFAULT_LISTEN);
    // A daemon that listens on all interfaces is reached through the loopback address.
    let address = listen
        .replacen("0.0.0.0:", "127.0.0.1:", 1)
        .replacen("[::]:", "[::1]:", 1);
    let request = async {
        let mut stream = tokio::net::TcpStream::connect(&address).await?;
        stream
            .write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .await?;
        let mut response = String::new();
        stream.take(4096).read_to_string(&mut response).await?;
        Ok::<_, std::io::Error>(response)
    };
    let response = tokio::time::timeout(Duration::from_secs(5), request)
        .await
        .with_context(|| format!("no response from the daemon at {address} within 5 s"))?
        .with_context(|| format!("no daemon is reachable at {address}"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    output::print_line(body.trim())?;
    Ok(
        if head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200") {
            Exit::Done
        } else {
            Exit::Failed
        },
    )
}
