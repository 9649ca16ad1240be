//! The groups, alone and against a model that is too slow to be wrong.

use proptest::prelude::*;

use super::*;
use crate::apps::gateway::request::Request;

fn key(name: u8) -> FileKey {
    FileKey::of("GET", &format!("/{name}"))
}

fn share(name: u8) -> Share {
    let request = Request {
        method: "GET".into(),
        path: "/".into(),
        query: Some(name.to_string().into()),
        headers: Box::default(),
        body: bytes::Bytes::new(),
    };
    Share::of_all(&request)
}

const TURN: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

fn answered(groups: &mut Groups<u32, u32>, name: u8) -> (Vec<u32>, Option<u32>) {
    let (callers, next) = groups.answered(key(name));
    (callers.collect(), next)
}

#[test]
fn equal_requests_are_one_if_they_collapse() {
    let mut groups = Groups::new(true);
    assert_eq!(groups.come(key(0), share(0), 1, 1).1, Came::First(1));
    for caller in 2..=100 {
        assert_eq!(groups.come(key(0), share(0), caller, caller).1, Came::Shared);
    }
    assert_eq!(
        groups.come(key(0), share(1), 101, 101).1,
        Came::Behind,
        "another by the collapse key, with the same name"
    );
    assert_eq!(groups.come(key(0), share(1), 102, 102).1, Came::Shared);
    assert_eq!((groups.waiting(), groups.out(), groups.behind()), (102, 1, 1));
    assert_eq!(answered(&mut groups, 0), ((1..=100).collect(), Some(101)));
    assert_eq!(answered(&mut groups, 0), (vec![101, 102], None));
    assert_eq!((groups.waiting(), groups.out(), groups.behind()), (0, 0, 0));
    assert_eq!(groups.come(key(0), share(0), 103, 103).1, Came::First(103), "nothing is kept");
}

#[test]
fn equal_requests_take_turns_if_they_do_not() {
    let mut groups = Groups::new(false);
    assert_eq!(groups.come(key(0), share(0), 1, 1).1, Came::First(1));
    assert_eq!(groups.come(key(0), share(0), 2, 2).1, Came::Behind);
    assert_eq!(groups.come(key(0), share(0), 3, 3).1, Came::Behind);
    assert_eq!(answered(&mut groups, 0), (vec![1], Some(2)));
    assert_eq!(answered(&mut groups, 0), (vec![2], Some(3)));
    assert_eq!(answered(&mut groups, 0), (vec![3], None));
}

#[test]
fn who_leaves_takes_nothing_from_the_others() {
    for collapses in [false, true] {
        let mut groups = Groups::new(collapses);
        let now = Instant::now();
        let (first, _) = groups.come(key(0), share(0), 1, 1);
        // In the very moment in which the first leaves.
        groups.come(key(0), share(0), 2, 2);
        assert_eq!(groups.leave(first, now), Some(1));
        assert_eq!(groups.leave(first, now), None, "once");
        assert_eq!(
            (groups.waiting(), groups.out(), groups.behind()),
            (1, 1, 0),
            "the second has what the first asked for"
        );
        assert_eq!(answered(&mut groups, 0), (vec![2], None));
        // A little later.
        let (first, _) = groups.come(key(0), share(0), 1, 1);
        groups.leave(first, now);
        assert_eq!(groups.come(key(0), share(0), 2, 2).1, Came::Shared);
        assert_eq!(answered(&mut groups, 0), (vec![2], None));
    }
}

#[test]
fn what_nobody_waits_for_is_given_up_after_a_while() {
    let mut groups = Groups::new(true);
    let now = Instant::now();
    let (seat, _) = groups.come(key(0), share(0), 1, 1);
    assert_eq!(groups.abandon(key(0), now, PATIENCE, TURN), Abandoned::No(TURN), "somebody waits");
    groups.leave(seat, now);
    assert_eq!(groups.abandon(key(0), now + TURN, PATIENCE, TURN), Abandoned::No(TURN));
    let (behind, _) = groups.come(key(0), share(1), 2, 2);
    assert_eq!(groups.abandon(key(0), now + TURN / 2, PATIENCE, TURN), Abandoned::No(TURN / 2));
    assert_eq!(groups.abandon(key(0), now + TURN, PATIENCE, TURN), Abandoned::Yes(Some(2)), "others stand behind it");
    groups.leave(behind, now);
    assert_eq!(groups.abandon(key(0), now + PATIENCE, PATIENCE, TURN), Abandoned::Yes(None));
    assert_eq!((groups.waiting(), groups.out(), groups.behind()), (0, 0, 0));
}

/// One lane as a list: who waits for which share, in groups. The first is out.
#[derive(Default)]
struct Model {
    lanes: BTreeMap<u8, Vec<(u8, Vec<u32>)>>,
}

impl Model {
    fn come(&mut self, collapses: bool, name: u8, what: u8, caller: u32) {
        let lane = self.lanes.entry(name).or_default();
        let equal = lane
            .iter_mut()
            .enumerate()
            .find(|(at, (share, callers))| *share == what && (collapses || (*at == 0 && callers.is_empty())));
        match equal {
            Some((_, (_, callers))) => callers.push(caller),
            None => lane.push((what, vec![caller])),
        }
    }

    fn leave(&mut self, caller: u32) {
        for lane in self.lanes.values_mut() {
            lane.iter_mut().for_each(|(_, callers)| callers.retain(|known| *known != caller));
            // Behind what is out, nothing stays without callers; and what is out is taken over by an equal one.
            let (out, mut behind) = (lane.remove(0), lane.split_off(0));
            behind.retain(|(_, callers)| !callers.is_empty());
            let heir = behind.iter().position(|(share, _)| *share == out.0).filter(|_| out.1.is_empty());
            let out = heir.map_or(out, |heir| behind.remove(heir));
            lane.extend([vec![out], behind].concat());
        }
    }

    fn answered(&mut self, name: u8) -> Vec<u32> {
        let Some(lane) = self.lanes.get_mut(&name) else { return Vec::new() };
        let (_, callers) = lane.remove(0);
        if lane.is_empty() {
            self.lanes.remove(&name);
        }
        callers
    }

    fn counts(&self) -> (usize, usize, usize) {
        let waiting = self.lanes.values().flatten().map(|(_, callers)| callers.len()).sum();
        (waiting, self.lanes.len(), self.lanes.values().map(|lane| lane.len() - 1).sum())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Come(u8, u8),
    Leave(prop::sample::Index),
    Answered(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, 0..3u8).prop_map(|(name, what)| Step::Come(name, what)),
        3 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => (0..3u8).prop_map(Step::Answered),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn they_are_as_a_list_of_lists(collapses: bool, steps in steps()) {
        let (mut groups, mut model) = (Groups::new(collapses), Model::default());
        let (mut seats, now) = (Vec::new(), Instant::now());
        for (number, step) in (0u32..).zip(steps) {
            match step {
                Step::Come(name, what) => {
                    seats.push((groups.come(key(name), share(what), number, number).0, number));
                    model.come(collapses, name, what, number);
                }
                Step::Leave(index) if !seats.is_empty() => {
                    let (seat, caller) = seats[index.index(seats.len())];
                    groups.leave(seat, now);
                    model.leave(caller);
                }
                Step::Leave(_) => {}
                Step::Answered(name) => {
                    let (callers, next) = answered(&mut groups, name);
                    prop_assert_eq!(callers, model.answered(name));
                    let is_out = model.lanes.contains_key(&name);
                    prop_assert_eq!(next.is_some(), is_out);
                }
            }
            prop_assert_eq!((groups.waiting(), groups.out(), groups.behind()), model.counts());
        }
    }
}
