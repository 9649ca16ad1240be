//! What the work costs: processor time of the broker and of this client, and the broker's memory. Asks the broker, as
//! any client can.

use std::{ops::Sub, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::options::Target;
use crate::{
    client::Fault,
    pb::v1::{GetServerInfoRequest, operations_client::OperationsClient},
};

/// What was used until now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    broker_cpu: Duration,
    client_cpu: Duration,
    broker_resident_bytes: u64,
}

/// What was used meanwhile. Of a broker that does not tell it, all is 0.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Used {
    /// The broker's processor time.
    pub broker_cpu_s: f64,
    /// The broker's memory at the end.
    pub broker_resident_bytes: u64,
    /// This process's processor time.
    pub client_cpu_s: f64,
}

impl Usage {
    /// Asks the broker, and the system for this process.
    pub async fn ask(target: &Target) -> Result<Usage, Fault> {
        let mut operations = OperationsClient::new(target.connect().await?);
        let info = operations.get_server_info(GetServerInfoRequest {}).await?.into_inner();
        let broker_cpu = info.cpu_time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
        Ok(Usage { broker_cpu, client_cpu: own_cpu(), broker_resident_bytes: info.resident_bytes })
    }
}

impl Sub for Usage {
    type Output = Used;

    fn sub(self, before: Usage) -> Used {
        let seconds = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64();
        Used {
            broker_cpu_s: seconds(self.broker_cpu, before.broker_cpu),
            broker_resident_bytes: self.broker_resident_bytes,
            client_cpu_s: seconds(self.client_cpu, before.client_cpu),
        }
    }
}

/// Processor time that this process has used since it started.
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // It counts from 0, and nanoseconds are below a thousand million.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
