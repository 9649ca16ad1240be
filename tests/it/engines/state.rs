//! Small values, and the logs of different namespaces.

use tilde::model::{NamespaceName, Sequence};

use super::subject::{Subject, message, settings, texts};

pub async fn it_changes_by_compare_and_set(subject: Subject) {
    let state = subject.engine.state();
    assert_eq!(state.get("a").unwrap(), None);
    assert_eq!(state.put("a", b"1".to_vec(), 9).await.unwrap(), None, "there is none to replace");
    let first = state.put("a", b"1".to_vec(), 0).await.unwrap().expect("there was none");
    assert_ne!(first, 0);
    assert_eq!(state.put("a", b"2".to_vec(), 0).await.unwrap(), None, "there is one");
    let second = state.put("a", b"2".to_vec(), first).await.unwrap().expect("it was unchanged");
    assert!(second > first);
    assert_eq!(state.put("a", b"3".to_vec(), first).await.unwrap(), None, "it was changed");
    let value = state.get("a").unwrap().expect("it was put");
    assert_eq!((value.bytes, value.version), (b"2".to_vec(), second));
    assert!(!state.delete("a", first).await.unwrap());
    assert!(state.delete("a", second).await.unwrap());
    assert_eq!(state.get("a").unwrap(), None);
    assert!(!state.delete("a", second).await.unwrap());
}

pub async fn it_is_listed_by_prefix(subject: Subject) {
    let state = subject.engine.state();
    for key in ["case/b", "case/a", "case", "casf", "case/a/x"] {
        state.put(key, key.as_bytes().to_vec(), 0).await.unwrap().unwrap();
    }
    let listed = state.list("case/").unwrap();
    let keys: Vec<_> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["case/a", "case/a/x", "case/b"]);
    assert!(listed.iter().all(|(key, value)| key.as_bytes() == value.bytes && value.version > 0));
}

pub async fn a_log_asked_for_twice_is_one(subject: Subject) {
    let (first, second) = (subject.log().await, subject.log().await);
    assert_eq!(first.bounds().id, second.bounds().id);
    subject.take(&*first, &[message("t", "a")]).await;
    assert_eq!(texts(&subject.read_all(&*second, &["~"]).await), ["a"]);
}

pub async fn a_removed_log_comes_back_empty(subject: Subject) {
    let name = NamespaceName::parse("team").unwrap();
    subject.engine.remove(&name).await.unwrap();
    let before = subject.log_of("team", settings()).await;
    subject.take(&*before, &[message("t", "a")]).await;
    subject.engine.remove(&name).await.unwrap();
    let after = subject.log_of("team", settings()).await;
    assert_ne!(before.bounds().id, after.bounds().id);
    assert!(after.bounds().end < Sequence::FIRST);
    assert!(subject.read_all(&*after, &["~"]).await.is_empty());
    subject.take(&*after, &[message("t", "b")]).await;
    assert_eq!(texts(&subject.read_all(&*after, &["~"]).await), ["b"]);
}

pub async fn namespaces_are_apart(subject: Subject) {
    let (a, b) = (subject.log_of("a", settings()).await, subject.log_of("b", settings()).await);
    assert_ne!(a.bounds().id, b.bounds().id);
    subject.take(&*a, &[message("t", "a")]).await;
    subject.take(&*b, &[message("t", "b")]).await;
    assert_eq!(texts(&subject.read_all(&*a, &["~"]).await), ["a"]);
    assert_eq!(texts(&subject.read_all(&*b, &["~"]).await), ["b"]);
}
