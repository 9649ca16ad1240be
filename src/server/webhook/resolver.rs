//! Where a name leads: only to addresses that webhooks may go to. What was looked at here is what is connected to, so that a
//! name which changes its mind in between wins nothing.

use std::{error::Error, fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::model::Targets;

/// Looks a name up: the system's resolver, or a test's.
pub type Lookup =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// Drops what is not allowed.
#[derive(Clone)]
pub struct Resolver {
    targets: Targets,
    lookup: Lookup,
}

/// A name led to nothing that is allowed. Says no address: whoever set the URL up may not know them.
#[derive(Clone, Copy, Debug)]
pub struct Forbidden;

/// A name led nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Unknown;

impl Resolver {
    /// By the system's resolver.
    pub fn system(targets: Targets) -> Self {
        let lookup: Lookup =
            Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }));
        Resolver { targets, lookup }
    }

    /// By another one.
    #[cfg(test)]
    pub fn with(targets: Targets, lookup: Lookup) -> Self {
        Resolver { targets, lookup }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Resolver { targets, lookup } = self.clone();
        Box::pin(async move {
            let found = lookup(name.as_str().to_owned()).await.unwrap_or_default();
            if found.is_empty() {
                return Err(Unknown.into());
            }
            let allowed: Vec<_> = found.into_iter().filter(|found| targets.permit(found.ip()).is_ok()).collect();
            match allowed.is_empty() {
                true => Err(Forbidden.into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the target's name leads to no address that webhooks may go to: the broker's operator can allow it \
             (webhooks.allow_targets)",
        )
    }
}

impl Error for Forbidden {}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the target's name leads to no address: is it spelt right?")
    }
}

impl Error for Unknown {}
