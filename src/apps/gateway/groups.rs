//! Who waits for what. Decides which callers share a request to the broker, and whose turn it is. Never reads a clock,
//! never awaits, never touches a broker.
//!
//! There is one *lane* for each file key, as the broker has room for one request of that name: the group whose request is
//! out, and the groups behind it, which take turns. A request that is out stays out when its callers leave, and whoever
//! comes with an equal one joins it.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    time::{Duration, Instant},
};

use super::key::{FileKey, Share};

/// All lanes. `R` is a request, `C` a caller.
#[derive(Debug)]
pub struct Groups<R, C> {
    /// Equal requests that wait at the same time are one.
    collapses: bool,
    lanes: HashMap<FileKey, Lane<R, C>>,
    /// The last number that was given to a group or a caller.
    last: u64,
    waiting: usize,
    behind: usize,
}

/// What goes by one file key.
#[derive(Debug)]
struct Lane<R, C> {
    /// Its request is out; where it once was is gone.
    out: Group<C>,
    /// Since when nobody waits for what is out.
    idle: Option<Instant>,
    /// In the order in which they came.
    behind: BTreeMap<u64, (Group<C>, R)>,
    /// Those behind that others can join.
    joinable: HashMap<Share, u64>,
}

/// Callers that get the same answer.
#[derive(Debug)]
struct Group<C> {
    number: u64,
    share: Share,
    callers: BTreeMap<u64, C>,
}

/// Where a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    key: FileKey,
    group: u64,
    caller: u64,
}

/// What a caller has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Came<R> {
    /// The request is to go out now.
    First(R),
    /// Its request goes out when it is its turn.
    Behind,
    /// Somebody else's request stands for it.
    Shared,
}

/// Whether what is out is given up.
#[derive(Debug, PartialEq, Eq)]
pub enum Abandoned<R> {
    /// It is, and this request is to go out next, if there is one.
    Yes(Option<R>),
    /// Not before so long from now.
    No(Duration),
}

impl<R, C> Groups<R, C> {
    /// Nobody waits. If `collapses`, equal requests that wait at the same time are one; else they take turns.
    pub fn new(collapses: bool) -> Self {
        Groups { collapses, lanes: HashMap::new(), last: 0, waiting: 0, behind: 0 }
    }

    /// Callers that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Requests that are out.
    pub fn out(&self) -> usize {
        self.lanes.len()
    }

    /// Requests that wait for their turn.
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// A caller comes.
    pub fn come(&mut self, key: FileKey, share: Share, request: R, caller: C) -> (Seat, Came<R>) {
        self.last += 1;
        self.waiting += 1;
        let number = self.last;
        let group = |caller| Group { number, share, callers: BTreeMap::from([(number, caller)]) };
        let mut seat = Seat { key, group: number, caller: number };
        let lane = match self.lanes.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Lane { out: group(caller), idle: None, behind: BTreeMap::new(), joinable: HashMap::new() });
                return (seat, Came::First(request));
            }
            Entry::Occupied(lane) => lane.into_mut(),
        };
        if lane.out.share == share && (self.collapses || lane.out.callers.is_empty()) {
            seat.group = lane.out.number;
            lane.out.callers.insert(number, caller);
            lane.idle = None;
            return (seat, Came::Shared);
        }
        if self.collapses
            && let Some((group, _)) = lane.joinable.get(&share).and_then(|at| lane.behind.get_mut(at))
        {
            seat.group = group.number;
            group.callers.insert(number, caller);
            return (seat, Came::Shared);
        }
        lane.joinable.insert(share, number);
        lane.behind.insert(number, (group(caller), request));
        self.behind += 1;
        (seat, Came::Behind)
    }

    /// A caller leaves, whether it was answered or not. What it asked for stays out. Answers with the caller, if it still
    /// waited.
    pub fn leave(&mut self, seat: Seat, now: Instant) -> Option<C> {
        let lane = self.lanes.get_mut(&seat.key)?;
        if lane.out.number == seat.group {
            let caller = lane.out.callers.remove(&seat.caller)?;
            self.waiting -= 1;
            if lane.out.callers.is_empty() {
                lane.idle = Some(now);
                self.behind -= usize::from(lane.hand_over());
            }
            return Some(caller);
        }
        let (group, _) = lane.behind.get_mut(&seat.group)?;
        let caller = group.callers.remove(&seat.caller)?;
        self.waiting -= 1;
        if group.callers.is_empty() {
            lane.take_behind(seat.group);
            self.behind -= 1;
        }
        Some(caller)
    }

    /// What was out is answered: by this key, nothing is out any more. Answers with those who waited for it, in the order
    /// in which they came, and with the request that is to go out next.
    pub fn answered(&mut self, key: FileKey) -> (impl Iterator<Item = C> + use<R, C>, Option<R>) {
        let (group, next) = self.end(key);
        self.waiting -= group.as_ref().map_or(0, |group| group.callers.len());
        (group.into_iter().flat_map(|group| group.callers.into_values()), next)
    }

    /// Gives up what is out if nobody has waited for it for `patience`, or for `turn` while others stand behind it.
    pub fn abandon(&mut self, key: FileKey, now: Instant, patience: Duration, turn: Duration) -> Abandoned<R> {
        let Some(lane) = self.lanes.get(&key) else { return Abandoned::Yes(None) };
        let patience = if lane.behind.is_empty() { patience } else { turn.min(patience) };
        match lane.idle.map(|idle| patience.saturating_sub(now.saturating_duration_since(idle))) {
            Some(Duration::ZERO) => Abandoned::Yes(self.end(key).1),
            Some(left) => Abandoned::No(left.min(turn)),
            None => Abandoned::No(turn),
        }
    }

    /// Takes what is out away, and lets the next go out in its place.
    fn end(&mut self, key: FileKey) -> (Option<Group<C>>, Option<R>) {
        let Entry::Occupied(mut lane) = self.lanes.entry(key) else { return (None, None) };
        let Some(&first) = lane.get().behind.keys().next() else { return (Some(lane.remove().out), None) };
        let (group, request) = lane.get_mut().take_behind(first).expect("it stands behind");
        self.behind -= 1;
        lane.get_mut().idle = None;
        (Some(std::mem::replace(&mut lane.get_mut().out, group)), Some(request))
    }
}

impl<R, C> Lane<R, C> {
    /// Nobody waits for what is out: the first who wants the same does from now on, and has no need for a turn. Answers
    /// whether there was one.
    fn hand_over(&mut self) -> bool {
        let heir = self.behind.values().find(|(group, _)| group.share == self.out.share).map(|(group, _)| group.number);
        let Some((group, _)) = heir.and_then(|heir| self.take_behind(heir)) else { return false };
        self.out = group;
        self.idle = None;
        true
    }

    fn take_behind(&mut self, number: u64) -> Option<(Group<C>, R)> {
        let (group, request) = self.behind.remove(&number)?;
        if self.joinable.get(&group.share) == Some(&number) {
            self.joinable.remove(&group.share);
        }
        Some((group, request))
    }
}

#[cfg(test)]
mod tests;
