//! What happens to this host's domains, told to everyone who listens, with the last of it kept for those who come late.
//! It decides nothing. Main type: [`News`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use api::{DomainEvent, EventKind};
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::limits::{NEWS_KEPT, NEWS_QUEUE};
use crate::tracker::now;

/// The news of one host.
#[derive(Clone)]
pub(crate) struct News {
    told: broadcast::Sender<DomainEvent>,
    kept: Arc<Mutex<VecDeque<DomainEvent>>>,
}

impl News {
    pub(crate) fn new() -> News {
        News { told: broadcast::Sender::new(NEWS_QUEUE), kept: Arc::default() }
    }

    /// Tells everyone who listens now.
    pub(crate) fn tell(&self, event: DomainEvent) {
        // Under the lock, so that nobody who begins to listen now misses it or hears it twice.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(NEWS_KEPT - 1);
        kept.push_front(event.clone());
        // An error only means that nobody listens.
        _ = self.told.send(event);
    }

    /// What is told from now on; before it, where `since` is given, what was told after that.
    pub(crate) fn listen(&self, since: Option<Timestamp>) -> impl Stream<Item = DomainEvent> + Send + use<> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let later = |event: &&DomainEvent| {
            since.is_some_and(|since| event.at.parse::<Timestamp>().is_ok_and(|at| at > since))
        };
        let before: Vec<_> = kept.iter().take_while(later).cloned().collect();
        let told = self.told.subscribe();
        drop(kept);
        let now = stream::unfold(told, |mut told| async move {
            let event = match told.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(count)) => missed(count),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((event, told))
        });
        stream::iter(before.into_iter().rev()).chain(now)
    }
}

/// Something that happened just now.
pub(crate) fn event(domain: &str, uuid: Uuid, event: EventKind, detail: Option<String>) -> DomainEvent {
    DomainEvent { at: now(), domain: domain.to_owned(), uuid, event, detail, data: None }
}

/// Stands for events that a slow listener lost.
fn missed(count: u64) -> DomainEvent {
    let detail = Some(format!("{count} events were not told: the listener was too slow"));
    DomainEvent { data: Some(Value::from(count)), ..event("", Uuid::nil(), EventKind::Missed, detail) }
}

#[cfg(test)]
mod tests {
    use api::EventKind;
    use futures_util::StreamExt;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::{NEWS_KEPT, NEWS_QUEUE, News, event};

    #[tokio::test]
    async fn who_comes_late_hears_what_was_kept_since_then_once() {
        let news = News::new();
        for kind in [EventKind::Defined, EventKind::Started] {
            news.tell(event("web1", Uuid::nil(), kind, None));
        }
        let all = news.listen(Some(Timestamp::UNIX_EPOCH));
        let none = news.listen(None);
        let future = news.listen(Some(Timestamp::MAX));
        news.tell(event("web1", Uuid::nil(), EventKind::Stopped, None));
        drop(news);
        let kinds = async |stream| {
            let events: Vec<api::DomainEvent> = StreamExt::collect(stream).await;
            events.into_iter().map(|event| event.event).collect::<Vec<_>>()
        };
        assert_eq!(kinds(all.boxed()).await, [EventKind::Defined, EventKind::Started, EventKind::Stopped]);
        assert_eq!(kinds(none.boxed()).await, [EventKind::Stopped]);
        assert_eq!(kinds(future.boxed()).await, [EventKind::Stopped]);
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_missed_and_memory_is_bounded() {
        let news = News::new();
        let mut slow = news.listen(None).boxed();
        for _ in 0..NEWS_KEPT.max(NEWS_QUEUE) + 3 {
            news.tell(event("web1", Uuid::nil(), EventKind::Balloon, None));
        }
        let first = slow.next().await.unwrap();
        assert_eq!(first.event, EventKind::Missed);
        assert_eq!(news.kept.lock().unwrap().len(), NEWS_KEPT);
    }
}
