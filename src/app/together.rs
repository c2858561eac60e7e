//! What all tenants say, as one word.

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

/// Whether Kora answers, as far as it was asked; `None` if nobody has asked it.
pub(super) fn answers(words: &[Option<bool>]) -> Option<bool> {
    let asked = || words.iter().flatten();
    asked().next()?;
    Some(asked().all(|answers| *answers))
}

/// Whether one of the logs can write, at least.
pub(super) fn any(words: &[bool]) -> bool {
    words.iter().any(|is_so| *is_so)
}

/// Whether every log can write.
pub(super) fn all(words: &[bool]) -> bool {
    words.iter().all(|is_so| *is_so)
}

/// Follows what each says, until it is dropped, and shows what that comes to.
pub(super) async fn follow<T: Copy + PartialEq>(
    mut each: Vec<watch::Receiver<T>>,
    together: fn(&[T]) -> T,
    shown: watch::Sender<T>,
) {
    let mut words: Vec<T> = each
        .iter_mut()
        .map(|word| *word.borrow_and_update())
        .collect();
    let mut changes: FuturesUnordered<_> = each.into_iter().enumerate().map(next_change).collect();
    loop {
        shown.send_if_modified(|was| {
            let is = together(&words);
            let is_news = *was != is;
            *was = is;
            is_news
        });
        let Some(change) = changes.next().await else {
            return;
        };
        // One whose source is gone says nothing new.
        if let Some((number, mut word)) = change {
            words[number] = *word.borrow_and_update();
            changes.push(next_change((number, word)));
        }
    }
}

async fn next_change<T>(
    (number, mut word): (usize, watch::Receiver<T>),
) -> Option<(usize, watch::Receiver<T>)> {
    word.changed().await.ok()?;
    Some((number, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kora_answers_if_it_answers_everybody_who_asked() {
        assert_eq!(answers(&[None, None]), None);
        assert_eq!(answers(&[None, Some(true)]), Some(true));
        assert_eq!(answers(&[Some(false), None, Some(true)]), Some(false));
    }

    #[test]
    fn one_log_that_can_write_is_some_and_not_all() {
        for (words, is_any, are_all) in [
            (&[true, true][..], true, true),
            (&[false, true], true, false),
            (&[false, false], false, false),
            (&[true], true, true),
            (&[false], false, false),
        ] {
            assert_eq!((any(words), all(words)), (is_any, are_all), "{words:?}");
        }
    }

    #[tokio::test]
    async fn one_word_follows_each() {
        let each: Vec<_> = [true, true, false].map(watch::Sender::new).into();
        let receivers = each.iter().map(watch::Sender::subscribe).collect();
        let (shown, mut seen) = watch::channel(true);
        let follow = tokio::spawn(follow(receivers, all, shown));
        seen.wait_for(|all| !all).await.unwrap();
        each[2].send_replace(true);
        seen.wait_for(|all| *all).await.unwrap();
        each[0].send_replace(false);
        seen.wait_for(|all| !all).await.unwrap();
        follow.abort();
    }
}
