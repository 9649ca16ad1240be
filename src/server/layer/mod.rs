//! What every call passes, one layer a file. All of them end where the answer begins: an open stream is its body, and
//! no layer holds on to it.

pub mod deadline;
mod intake;
mod panics;
mod refusals;
mod trace;

use deadline::Deadline;
use intake::Intake;
use panics::Panics;
use refusals::Refusals;
use trace::Trace;

use super::routes::Routes;

/// The layers around the routes.
pub type Stack = Trace<Panics<Deadline<Refusals<Intake<Routes>>>>>;

/// Puts the layers around the routes, from the outside in. Tracing is outermost, as it tells of what the others
/// answer.
pub fn stack(routes: Routes) -> Stack {
    Trace(Panics(Deadline(Refusals(Intake::new(routes)))))
}
