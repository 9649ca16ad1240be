//! What goes wrong, by chance: the broker crashes, or is stopped in order; links are cut, in one direction or both, or
//! hold back what is sent. One thing at a time on each link. When the storm is over, nothing goes wrong any more. Writes
//! down what may have ended streams, and nothing else.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tilde::shutdown::Shutdown;
use turmoil::Sim;

use super::{
    history::{At, Part, What},
    world::{BROKER, CLERK, HOSTS, Scene, Stage},
};
use crate::support::dice::Dice;

/// A link that holds back for longer may pass for dead.
const SHORT: Duration = Duration::from_millis(1_500);

pub struct Chaos {
    dice: Dice,
    next: At,
    storm: Duration,
    // When it began.
    since: Option<At>,
    faults: [Option<(Fault, At)>; HOSTS.len()],
    broker: State,
    asked: Arc<Mutex<Shutdown>>,
}

/// What is wrong with the link between the broker and a host.
#[derive(Clone, Copy)]
enum Fault {
    Cut,
    /// Nothing comes to the host.
    Deaf,
    /// Nothing comes from it.
    Mute,
    Held,
}

enum State {
    Up,
    /// It was asked to stop, and is to be down for so long.
    Stopping(Duration),
    Down(At),
}

impl Chaos {
    pub fn new(dice: Dice, storm: Duration, asked: Arc<Mutex<Shutdown>>) -> Self {
        Chaos { dice, next: At::ZERO, storm, since: None, faults: Default::default(), broker: State::Up, asked }
    }

    /// To be called before each step of the simulation.
    pub fn step(&mut self, sim: &mut Sim<'_>, scene: &Scene) {
        let now = sim.elapsed();
        if scene.stage() == Stage::Building {
            return;
        }
        let is_over = now > *self.since.get_or_insert(now) + self.storm;
        self.mend(sim, scene, now, is_over);
        self.restart(sim, now, is_over);
        if is_over {
            if scene.stage() == Stage::Storm && matches!(self.broker, State::Up) {
                scene.enter(Stage::Calm);
            }
        } else if now >= self.next {
            self.next = now + self.millis(1_000);
            match self.dice.roll(8) {
                0 | 1 => self.crash(sim, scene, now),
                2 => self.stop(scene, now),
                _ => self.disturb(sim, scene, now),
            }
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, scene: &Scene, now: At) {
        if let State::Down(_) = self.broker {
            return;
        }
        // The power goes: nobody is told. (What a host that only crashes says to its peers, turmoil says in an order that
        // no seed decides.)
        self.mend(sim, scene, now, true);
        scene.book.write(now, What::Broke(Part::Broker));
        let all = || HOSTS.into_iter().chain([CLERK]);
        all().for_each(|host| sim.partition(host, BROKER));
        sim.crash(BROKER);
        all().for_each(|host| sim.repair(host, BROKER));
        let most = if self.dice.hits(2) { 1_000 } else { 20 };
        self.broker = State::Down(now + self.millis(most));
    }

    fn stop(&mut self, scene: &Scene, now: At) {
        if let State::Up = self.broker {
            scene.book.write(now, What::Broke(Part::Broker));
            self.asked.lock().unwrap().request(None);
            self.broker = State::Stopping(self.millis(500));
        }
    }

    fn restart(&mut self, sim: &mut Sim<'_>, now: At, is_over: bool) {
        match self.broker {
            State::Stopping(pause) if !sim.is_host_running(BROKER) => self.broker = State::Down(now + pause),
            State::Down(until) if now >= until || is_over => {
                sim.bounce(BROKER);
                self.broker = State::Up;
            }
            _ => {}
        }
    }

    fn disturb(&mut self, sim: &Sim<'_>, scene: &Scene, now: At) {
        let host = self.dice.roll(HOSTS.len() as u64) as usize;
        if self.faults[host].is_some() {
            return;
        }
        let (name, time) = (HOSTS[host], self.millis(3_000));
        let fault = match self.dice.roll(6) {
            0 => Fault::Cut,
            1 => Fault::Deaf,
            2 => Fault::Mute,
            _ => Fault::Held,
        };
        match fault {
            Fault::Cut => sim.partition(name, BROKER),
            Fault::Deaf => sim.partition_oneway(BROKER, name),
            Fault::Mute => sim.partition_oneway(name, BROKER),
            Fault::Held => {
                sim.hold(name, BROKER);
                scene.book.hold(host, now, true);
            }
        }
        if !matches!(fault, Fault::Held) || time > SHORT {
            scene.book.write(now, What::Broke(Part::Link(host)));
        }
        self.faults[host] = Some((fault, now + time));
    }

    fn mend(&mut self, sim: &Sim<'_>, scene: &Scene, now: At, is_over: bool) {
        for (host, name) in HOSTS.iter().enumerate() {
            let Some((fault, until)) = self.faults[host] else { continue };
            if now < until && !is_over {
                continue;
            }
            match fault {
                Fault::Cut => sim.repair(*name, BROKER),
                Fault::Deaf => sim.repair_oneway(BROKER, *name),
                Fault::Mute => sim.repair_oneway(*name, BROKER),
                Fault::Held => {
                    sim.release(*name, BROKER);
                    scene.book.hold(host, now, false);
                }
            }
            self.faults[host] = None;
        }
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.dice.roll(most))
    }
}
