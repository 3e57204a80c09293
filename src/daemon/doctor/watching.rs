//! What the kernel allows for watching directories, against what is needed (inotify(7)). Floor 5.

use std::fs;
use std::path::Path;

use super::{ok, warn};
use crate::daemon::check::Finding;
use crate::model::account::Account;

/// The smallest of the limits for something, and the setting that is it.
struct Limit {
    setting: &'static str,
    most: u64,
}

impl Limit {
    /// Of the machine as a whole, and of the user namespace, where containers have less.
    fn of(settings: [&'static str; 2]) -> Option<Self> {
        let limit = |setting: &'static str| {
            let file = format!("/proc/sys/{}", setting.replace('.', "/"));
            let most = fs::read_to_string(file).ok()?.trim().parse().ok()?;
            Some(Self { setting, most })
        };
        settings.into_iter().filter_map(limit).min_by_key(|limit| limit.most)
    }
}

/// Two watches for each mailbox, and room for the other programs of the user.
pub(super) fn watches(accounts: &[&Account]) -> Finding {
    let Some(limit) = Limit::of(["fs.inotify.max_user_watches", "user.max_inotify_watches"]) else {
        return ok("file watching: no limit is known here");
    };
    let needed: u64 = accounts.iter().map(|account| 2 * mailboxes_below(&account.maildir)).sum();
    let what = format!("inotify: {needed} of {} watches needed", limit.most);
    if needed.saturating_mul(2) <= limit.most {
        return ok(what);
    }
    let advice = "mailboxes without a watch are polled; as root: sysctl";
    warn(what, format!("{advice} {}=524288", limit.setting))
}

/// One instance for each account and one for the outbox; the others are for other programs.
pub(super) fn instances() -> Option<Finding> {
    let limit = Limit::of(["fs.inotify.max_user_instances", "user.max_inotify_instances"])?;
    (limit.most < INSTANCES_MIN).then(|| {
        let advice = "desktops need more than a hundred; as root: sysctl";
        warn(
            format!("inotify: {} instances for all programs of a user", limit.most),
            format!("{advice} {}=512", limit.setting),
        )
    })
}

fn mailboxes_below(root: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(root) else { return 0 };
    let is_mailbox = u64::from(root.join("cur").is_dir());
    let dirs = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    let below = dirs
        .filter(|e| !matches!(e.file_name().to_str(), Some("cur" | "new" | "tmp" | ".postrider")));
    is_mailbox + below.map(|e| mailboxes_below(&e.path())).sum::<u64>()
}

const INSTANCES_MIN: u64 = 64;
