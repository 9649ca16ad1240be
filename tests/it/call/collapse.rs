//! Equal calls that wait at the same time share one request.

use super::*;

#[tokio::test]
async fn a_hundred_equal_ones_make_one_request_and_the_next_makes_another() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut responder = responder(&client, "a").await;
    let equal = || call(&client, "a", "x").collapse_key("k").into_future();
    let asked: Vec<_> = (0..100).map(|_| tokio::spawn(equal())).collect();
    waiting(&broker, 100).await;
    let question = next(&mut responder).await;
    question.reply_text("one").await.unwrap();
    let mut shared = 0;
    for asked in asked {
        let replies = soon("a reply", asked).await.unwrap().unwrap();
        assert_eq!(texts(&replies), ["one"]);
        shared += usize::from(replies.collapsed);
    }
    assert_eq!(shared, 99);
    let again = tokio::spawn(equal());
    next(&mut responder).await.reply_text("two").await.unwrap();
    let replies = again.await.unwrap().unwrap();
    assert_eq!((texts(&replies), replies.collapsed), (vec!["two".to_owned()], false));
}

#[tokio::test]
async fn other_keys_topics_and_numbers_of_replies_are_not_equal() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut responder = responder(&client, "~").await;
    let asked = [
        call(&client, "a", "1").collapse_key("k"),
        call(&client, "a", "2").collapse_key("l"),
        call(&client, "b", "3").collapse_key("k"),
        call(&client, "a", "4").collapse_key("k").max_replies(2).timeout(Duration::from_secs(2)),
        call(&client, "a", "5"),
        call(&client, "a", "6"),
    ]
    .map(|call| tokio::spawn(call.into_future()));
    for _ in 0..6 {
        let question = next(&mut responder).await;
        question.reply_text(text(&question).to_owned()).await.unwrap();
    }
    for (number, asked) in asked.into_iter().enumerate() {
        assert_eq!(texts(&asked.await.unwrap().unwrap()), [(number + 1).to_string()]);
    }
}

/// A and B ask the same. A's time is over, or he leaves; B's answer is that of the request that A began.
#[tokio::test]
async fn who_began_may_leave() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let mut responder = responder(&client, "a").await;
    for leaves in [true, false] {
        let equal = call(&client, "a", "x").collapse_key("k");
        let a = match leaves {
            true => equal.clone().into_future(),
            false => equal.clone().timeout(SHORT).into_future(),
        };
        let a = tokio::spawn(a);
        let question = next(&mut responder).await;
        let b = tokio::spawn(equal.into_future());
        waiting(&broker, 2).await;
        if leaves {
            a.abort();
        } else {
            assert_refused(a.await.unwrap(), Code::DeadlineExceeded, "NO_REPLY");
        }
        waiting(&broker, 1).await;
        question.reply_text("b's").await.unwrap();
        let replies = soon("b's reply", b).await.unwrap().unwrap();
        assert_eq!((texts(&replies), replies.collapsed), (vec!["b's".to_owned()], true));
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_to_all_who_share_it() {
    let broker = Tilde::start(&[]);
    let client = client(&broker).await;
    let asked: Vec<_> =
        (0..20).map(|_| tokio::spawn(call(&client, "a", "x").collapse_key("k").into_future())).collect();
    for asked in asked {
        assert_refused(soon("a refusal", asked).await.unwrap(), Code::Unavailable, "NO_RESPONDERS");
    }
    waiting(&broker, 0).await;
}
