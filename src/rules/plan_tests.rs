use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::ids::{ModSeq, UidValidity};
use crate::model::remote_list::RemoteList;
use crate::model::uids::UidSet;
use crate::model::view::{Cursor, LocalMessage, RemoteMessage, Sub};

fn both() -> Policy {
    Policy {
        direction: Direction::Both,
        delete: DeletePolicy::Trash,
        permanent: Permanent::all(),
        marks_only: false,
        horizon: Horizon::default(),
    }
}

fn cursor() -> Cursor {
    Cursor { uidvalidity: UidValidity::new(1).unwrap(), uidnext: 99, modseq: ModSeq(0), exists: 0 }
}

fn flags(letters: &str) -> Flags {
    Flags::from_letters(letters)
}

/// One message per line: `base:FS remote:S local:F`; `-` is absent, `?` is not seen but not proven
/// gone, `!x` marks a row's state. The message of line n has UID n and base name `m<n>`.
fn check(policy: &Policy, fixture: &str, want: &str) {
    let (mut base, mut remote, mut local) = world();
    for (at, line) in fixture.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate() {
        let n = u32::try_from(at).unwrap() + 1;
        let uid = Uid::new(n).unwrap();
        let name = Base(format!("m{n}"));
        let part = |key: &str| {
            line.split_whitespace().find_map(|w| w.strip_prefix(key)).unwrap_or("-").to_owned()
        };
        let (b, r, l) = (part("base:"), part("remote:"), part("local:"));
        if b != "-" {
            let row = BaseRow::pair(i64::from(n), uid, name.clone(), flags(&b));
            base.rows.push(row);
        }
        if r != "-" {
            let message = message(uid, Some(flags(&r)));
            remote.insert(uid, message);
        }
        match l.as_str() {
            "-" => {
                local.absent.insert(name);
            }
            "?" => {}
            letters => {
                let message =
                    LocalMessage { sub: Sub::Cur, flags: flags(letters), info: String::new() };
                local.messages.insert(name, message);
            }
        }
    }
    let remote = RemoteView::Complete { cursor: cursor(), messages: list(&remote) };
    let base = BaseView::of(base.rows, None);
    let got = plan(&base, &remote, &local, policy).to_string();
    let want: Vec<&str> = want.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(got.lines().collect::<Vec<_>>(), want, "{fixture}");
}

fn message(uid: Uid, flags: Option<Flags>) -> RemoteMessage {
    RemoteMessage { uid, flags, size: None, date: None }
}

fn list(messages: &BTreeMap<Uid, RemoteMessage>) -> RemoteList {
    messages.values().cloned().collect()
}

fn world() -> (BaseView, BTreeMap<Uid, RemoteMessage>, LocalView) {
    (BaseView::default(), BTreeMap::new(), LocalView::default())
}

#[test]
fn each_arm_of_the_match() {
    check(&both(), "base:- remote:S local:-", "download 1");
    check(&both(), "base:- remote:- local:S", "upload m1");
    check(&both(), "base:S remote:S local:S", "");
    check(&both(), "base: remote:F local:", "flags-local m1 +F -");
    check(&both(), "base: remote: local:F", "flags-remote 1 +F -");
    check(&both(), "base: remote:F local:F", "agree 1 F");
    check(&both(), "base: remote:S local:F", "flags-local m1 +S -\nflags-remote 1 +F -");
    check(&both(), "base:S remote:FS local:", "flags-local m1 +F -\nflags-remote 1 + -S");
    check(&both(), "base:S remote:S local:-", "remove-remote 1");
    check(&both(), "base:S remote:FS local:-", "remove-remote 1");
    check(&both(), "base:S remote:- local:S", "remove-local m1");
    check(&both(), "base:S remote:- local:FS", "remove-local m1");
    check(&both(), "base:S remote:- local:-", "forget 1");
    check(&both(), "base:S remote:S local:?", "suspect m1");
    check(&both(), "base:S remote:- local:?", "suspect m1");
}

#[test]
fn direction_and_delete_policy_bind_one_side() {
    let pull = Policy { direction: Direction::Pull, ..both() };
    check(&pull, "base:- remote:- local:S", "");
    check(&pull, "base: remote: local:F", "");
    check(&pull, "base: remote:S local:F", "flags-local m1 +S -");
    check(&pull, "base:S remote:S local:-", "orphan-remote 1");
    let push = Policy { direction: Direction::Push, ..both() };
    check(&push, "base:- remote:S local:-", "");
    check(&push, "base: remote:F local:", "");
    check(&push, "base:S remote:- local:S", "orphan-local 1");
    let keep = Policy { delete: DeletePolicy::Keep, ..both() };
    check(&keep, "base:S remote:S local:-", "orphan-remote 1");
}

#[test]
fn what_the_server_does_not_keep_stays_here_without_a_quarrel() {
    let permanent = Permanent { any_keyword: false, flags: flags("DFRST") };
    let some = Policy { permanent, ..both() };
    check(&some, "base: remote: local:P", "");
    check(&some, "base: remote: local:FP", "flags-remote 1 +F -");
    let none = Policy { permanent: Permanent::none(), ..both() };
    check(&none, "base: remote: local:F", "");
    check(&none, "base: remote:S local:F", "flags-local m1 +S -");
}

#[test]
fn newest_mail_comes_first() {
    check(
        &both(),
        "base:- remote:S local:-\nbase:- remote:S local:-\nbase:- remote:S local:-",
        "download 3\ndownload 2\ndownload 1",
    );
}

#[test]
fn a_delta_says_nothing_about_messages_that_it_does_not_list() {
    let uid = Uid::new(1).unwrap();
    let row = BaseRow::pair(1, uid, Base("m1".into()), flags("S"));
    let base = BaseView::of(vec![row], None);
    let message = LocalMessage { sub: Sub::Cur, flags: flags("FS"), info: String::new() };
    let local = LocalView {
        messages: BTreeMap::from([(Base("m1".into()), message)]),
        absent: BTreeSet::new(),
    };
    let remote = RemoteView::Delta {
        cursor: cursor(),
        changed: RemoteList::default(),
        vanished: UidSet::default(),
    };
    assert_eq!(plan(&base, &remote, &local, &both()).to_string(), "flags-remote 1 +F -\n");
}

#[test]
fn flags_that_the_server_did_not_send_are_unknown_and_not_none() {
    let uid = Uid::new(1).unwrap();
    let row = BaseRow::pair(1, uid, Base("m1".into()), flags("FS"));
    let base = BaseView::of(vec![row], None);
    let local = LocalView {
        messages: BTreeMap::from([(
            Base("m1".into()),
            LocalMessage { sub: Sub::Cur, flags: flags("FS"), info: String::new() },
        )]),
        absent: BTreeSet::new(),
    };
    let remote = RemoteView::Complete {
        cursor: cursor(),
        messages: [message(uid, None)].into_iter().collect(),
    };
    assert!(plan(&base, &remote, &local, &both()).is_empty());
}

/// Carries a plan out on the three views, as perfect ports would.
fn carry_out(
    plan: &Plan,
    base: &mut BaseView,
    remote: &mut BTreeMap<Uid, RemoteMessage>,
    local: &mut LocalView,
) {
    let pair = |uid: Uid, name: &Base, flags: &Flags, rows: &mut Vec<BaseRow>| {
        rows.retain(|r| r.uid != Some(uid) && r.base.as_ref() != Some(name));
        let row = rows.iter().map(|r| r.row).max().unwrap_or(0) + 1;
        rows.push(BaseRow::pair(row, uid, name.clone(), flags.clone()));
    };
    for (uid, _) in &plan.download {
        let flags = remote[uid].flags.clone().unwrap();
        let name = Base(format!("d{uid}"));
        local.messages.insert(
            name.clone(),
            LocalMessage { sub: Sub::Cur, flags: flags.clone(), info: String::new() },
        );
        pair(*uid, &name, &flags, &mut base.rows);
    }
    for name in &plan.upload {
        let uid = Uid::new(remote.keys().max().map_or(0, |u| u.get()) + 1000).unwrap();
        let flags = local.messages[name].flags.clone();
        remote.insert(uid, message(uid, Some(flags.clone())));
        pair(uid, name, &flags, &mut base.rows);
    }
    let agree = |row: RowId, flags: &Flags, rows: &mut Vec<BaseRow>| {
        rows.iter_mut().find(|r| r.row == row).unwrap().flags = flags.clone();
    };
    for (row, flags) in &plan.agree {
        agree(*row, flags, &mut base.rows);
    }
    for (row, name, delta, flags) in &plan.flags_local {
        let message = local.messages.get_mut(name).unwrap();
        message.flags = message.flags.apply(delta);
        agree(*row, flags, &mut base.rows);
    }
    for (delta, rows) in &plan.flags_remote {
        for (row, uid, flags) in rows {
            let message = remote.get_mut(uid).unwrap();
            message.flags = Some(message.flags.clone().unwrap().apply(delta));
            agree(*row, flags, &mut base.rows);
        }
    }
    for (row, uid) in &plan.remove_remote {
        remote.remove(uid);
        base.rows.retain(|r| r.row != *row);
    }
    for (row, name) in &plan.remove_local {
        local.messages.remove(name);
        base.rows.retain(|r| r.row != *row);
    }
    base.rows.retain(|r| !plan.forget.contains(&r.row));
}

fn any_flags() -> impl Strategy<Value = Flags> {
    (0_u8..64).prop_map(|bits| Flags::from_parts(bits, []))
}

type Message = (Option<Flags>, Option<Flags>, Option<Flags>);

fn any_message() -> impl Strategy<Value = Message> {
    (prop::option::of(any_flags()), prop::option::of(any_flags()), prop::option::of(any_flags()))
        // Without a past, a message is on one side only: a pair would have a row.
        .prop_map(|(b, r, l)| if b.is_none() && r.is_some() { (b, r, None) } else { (b, r, l) })
}

proptest! {
    #[test]
    fn one_round_converges_and_the_second_plan_is_empty(
        messages in prop::collection::vec(any_message(), 0..30)
    ) {
        let (mut base, mut remote, mut local) = world();
        for (at, (b, r, l)) in messages.iter().enumerate() {
            let n = u32::try_from(at).unwrap() + 1;
            let uid = Uid::new(n).unwrap();
            let name = Base(format!("m{n}"));
            if let Some(flags) = b {
                base.rows.push(BaseRow::pair(i64::from(n), uid, name.clone(), flags.clone()));
            }
            if let Some(flags) = r {
                remote.insert(uid, message(uid, Some(flags.clone())));
            }
            match l {
                Some(flags) => {
                    let message = LocalMessage { sub: Sub::Cur, flags: flags.clone(), info: String::new() };
                    local.messages.insert(name, message);
                }
                None => { local.absent.insert(name); }
            }
        }
        let before_remote: BTreeSet<Uid> = remote.keys().copied().collect();
        let view = RemoteView::Complete { cursor: cursor(), messages: list(&remote) };
        let mut base = BaseView::of(base.rows, None);
        let first = plan(&base, &view, &local, &both());
        // Nothing vanishes unless one side dropped it.
        for (_, uid) in &first.remove_remote {
            prop_assert!(before_remote.contains(uid));
            let name = Base(format!("m{uid}"));
            prop_assert!(!local.messages.contains_key(&name));
        }
        for (_, name) in &first.remove_local {
            let uid: u32 = name.0.strip_prefix('m').unwrap().parse().unwrap();
            prop_assert!(!before_remote.contains(&Uid::new(uid).unwrap()));
        }
        carry_out(&first, &mut base, &mut remote, &mut local);
        let view = RemoteView::Complete { cursor: cursor(), messages: list(&remote) };
        let base = BaseView::of(base.rows, None);
        let second = plan(&base, &view, &local, &both());
        prop_assert!(second.is_empty(), "{second}");
        // What is marked as deleted and has no pair stays where it is.
        let is_doomed = |f: &Option<Flags>| f.as_ref().is_some_and(|f| f.has(Flag::Trashed));
        let doomed = messages.iter().filter(|(b, _, l)| b.is_none() && is_doomed(l));
        prop_assert_eq!(2 * base.rows.len() + doomed.count(), remote.len() + local.messages.len());
        for row in &base.rows {
            let theirs = remote[&row.uid.unwrap()].flags.as_ref();
            let mine = &local.messages[row.base.as_ref().unwrap()].flags;
            prop_assert_eq!(theirs, Some(mine));
            prop_assert_eq!(mine, &row.flags);
        }
    }
}
