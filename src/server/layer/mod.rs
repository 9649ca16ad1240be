//! What every call passes, one layer a file. All of them end where the answer begins: an open stream is its body, and
//! no layer holds on to it.

pub mod deadline;
mod intake;
mod panics;
mod refusals;
mod trace;

use std::time::Duration;

use deadline::Deadline;
use intake::Intake;
use panics::Panics;
use refusals::Refusals;
use trace::Trace;

use super::front::Front;

/// The layers around what leads to the routes.
pub type Stack = Trace<Panics<Deadline<Refusals<Intake<Front>>>>>;

/// Puts the layers around it, from the outside in. Tracing is outermost, as it tells of what the others
/// answer. A request must arrive in full within `patience`.
pub fn stack(front: Front, patience: Duration) -> Stack {
    Trace(Panics(Deadline(Refusals(Intake::new(front, patience)))))
}
