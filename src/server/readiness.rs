//! Whether the broker wants calls, told in two ways that always agree: gRPC health and `/readyz`.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use tonic_health::{ServingStatus, server::HealthReporter};

/// Names that a health check may ask for; empty is the whole process.
pub const SERVICES: [&str; 6] =
    ["", "tilde.v1.Broker", "tilde.v1.Topics", "tilde.v1.Namespaces", "tilde.v1.Subscriptions", "tilde.v1.Operations"];

/// In which state the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The engine is not open yet, or what it needs cannot be reached.
    Waiting,
    /// It takes calls.
    Ready,
    /// It was asked to stop.
    Draining,
    /// It can take nothing more, and stops.
    Failed,
}

/// The state, and who is told of it.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<AtomicU8>,
    health: HealthReporter,
}

impl Readiness {
    /// Not ready yet.
    pub async fn new() -> Self {
        let state = Arc::new(AtomicU8::new(State::Waiting as u8));
        let readiness = Readiness { state, health: HealthReporter::new() };
        readiness.set(State::Waiting).await;
        readiness
    }

    /// What the gRPC service of health checks asks.
    pub fn reporter(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Tells everyone.
    pub async fn set(&self, state: State) {
        self.state.store(state as u8, Relaxed);
        let serving = match state {
            State::Ready => ServingStatus::Serving,
            State::Waiting | State::Draining | State::Failed => ServingStatus::NotServing,
        };
        for service in SERVICES {
            self.health.set_service_status(service, serving).await;
        }
    }

    /// The state now.
    pub fn get(&self) -> State {
        match self.state.load(Relaxed) {
            state if state == State::Waiting as u8 => State::Waiting,
            state if state == State::Ready as u8 => State::Ready,
            state if state == State::Draining as u8 => State::Draining,
            _ => State::Failed,
        }
    }

    /// Ends every health watch, so that none of them keeps a connection open.
    pub async fn end_watches(&self) {
        let mut health = self.health.clone();
        for service in SERVICES {
            health.clear_service_status(service).await;
        }
    }
}
