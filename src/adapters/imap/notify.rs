//! Waiting for all mailboxes at once by NOTIFY (RFC 5465). Floor 3.
//!
//! No mailbox is selected, so that each of them is told alike, by STATUS. Dovecot 2.3 forgets the
//! events of a mailbox after a second NOTIFY SET, so it is sent once in the life of a connection. A
//! rename comes as a LIST with extended data (`"OLDNAME"`), which the grammar below cannot read:
//! that ends the connection, and whoever waits looks at everything and dials again.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::ImapRemote;
use super::item::{Code, Item, Next};
use super::list::MAILBOXES_MAX;
use crate::model::failure::Failure;
use crate::ports::remote::Heard;
use crate::rules::names;

impl ImapRemote {
    /// Asks to be told about all mailboxes; false if the server refuses.
    pub(super) async fn notify_all(&mut self) -> Result<bool, Failure> {
        // How the server spells its names, so that what it tells is understood.
        let mut lists = Vec::new();
        self.wire
            .exec("LIST \"\" \"*\"", |item| {
                if let Item::List(list) = item {
                    lists.push(list);
                }
            })
            .await?;
        self.take_names(lists);
        self.selected = None;
        let command = if self.needs.subscriptions {
            format!("NOTIFY SET (mailboxes \"INBOX\" ({MESSAGES})) (subscribed ({ALL_EVENTS}))")
        } else {
            format!("NOTIFY SET (personal ({ALL_EVENTS}))")
        };
        let verdicts = self.wire.exec_all(&[command], 1, |_| {}).await?;
        Ok(verdicts.iter().all(Result::is_ok))
    }

    /// Waits until the server tells something, at most `limit`.
    pub(super) async fn hear(&mut self, limit: Duration) -> Result<Heard, Failure> {
        let mut news = Vec::new();
        let mut is_news = |item: &Item| {
            let one = news_of(item);
            let is_news = one.is_some();
            if news.len() <= MAILBOXES_MAX {
                news.extend(one);
            }
            is_news
        };
        if self.has("IDLE") {
            // Some servers tell things only to who is in IDLE.
            self.idle_until(limit, is_news).await?;
            return Ok(self.heard(news));
        }
        match timeout_at(Instant::now() + limit, self.wire.read()).await {
            Ok(next) => {
                if let Next::Item(item) = next? {
                    is_news(&item);
                }
            }
            Err(_) => {
                self.wire.exec("NOOP", |item| _ = is_news(&item)).await?;
            }
        }
        Ok(self.heard(news))
    }

    /// Turns what was told into mailboxes to look at.
    fn heard(&self, news: Vec<News>) -> Heard {
        let mut heard = Heard { is_list_changed: news.len() > MAILBOXES_MAX, ..Heard::default() };
        for one in news {
            match one {
                News::List => heard.is_list_changed = true,
                News::Over => heard.is_over = true,
                News::Mailbox(raw) => {
                    let known = self.names.iter().find(|(_, r)| **r == raw).map(|(n, _)| n.clone());
                    let prefix = self.prefix.as_deref();
                    let name = known.or_else(|| names::from_server(&raw, self.delimiter, prefix));
                    heard.mailboxes.extend(name);
                }
            }
        }
        heard
    }
}

/// What a response tells about mailboxes.
enum News {
    /// This one changed, by its name on the server.
    Mailbox(String),
    /// One came, went, or was subscribed to.
    List,
    /// The server stops telling things (RFC 5465 §5.8).
    Over,
}

fn news_of(item: &Item) -> Option<News> {
    match item {
        Item::Status(status) => Some(News::Mailbox(status.name.clone())),
        Item::List(_) => Some(News::List),
        Item::Code(Code::Named(name)) if name == "NOTIFICATIONOVERFLOW" => Some(News::Over),
        _ => None,
    }
}

const MESSAGES: &str = "MessageNew MessageExpunge FlagChange";
const ALL_EVENTS: &str = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange";
