//! Forty things that are no good message: each is refused or held with a clear reason, nothing is lost, and
//! the good one beside them is sent.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::fixture::{SOON, World, eventually, scripted};

const FROM: &str = "From: work@example.org\n";
const MIB: usize = 1024 * 1024;

enum Fate {
    /// Parked in `failed/`, with these words in its report.
    Parked(&'static str),
    /// Waits for a person, with these words as its reason.
    Held(&'static str),
    /// Sent, to this recipient.
    Sent(&'static str),
    /// Left alone where it is.
    Left,
}

struct Case {
    name: &'static str,
    text: Vec<u8>,
    fate: Fate,
}

fn case(name: &'static str, text: impl Into<Vec<u8>>, fate: Fate) -> Case {
    Case { name, text: text.into(), fate }
}

/// Dropped flat, where nothing but the file says whether it is whole.
fn flat() -> Vec<Case> {
    let part = "Content-Type: multipart/mixed; boundary=\"b1\"\nTo: a@x.org\n\n--b1\n\nx\n";
    vec![
        case("flat-cut-mime", format!("{FROM}{part}"), Fate::Held("truncated")),
        case("flat-half-end", format!("{FROM}{part}--b1-"), Fate::Held("truncated")),
        case("flat-end-in-text", format!("{FROM}{part}see --b1--\n"), Fate::Held("truncated")),
        case("flat-empty", "", Fate::Parked("truncated")),
        case("flat-text", "Hello there\n\nbody\n", Fate::Parked("truncated")),
        case("flat-whole-mime", format!("{FROM}{part}--b1--\n"), Fate::Sent("a@x.org")),
        case("flat.tmp", "no mail", Fate::Left),
        case(".flat", "no mail", Fate::Left),
        case("flat~", "no mail", Fate::Left),
        case("#flat#", "no mail", Fate::Left),
    ]
}

/// Dropped the Maildir way: whole by contract.
fn whole() -> Vec<Case> {
    let to = |to: &str| format!("{FROM}To: {to}\n\nx\n");
    let parked = Fate::Parked;
    let mut cases = vec![
        case("empty", "", parked("no header block")),
        case("newlines", "\n\n\n", parked("no header block")),
        case("no-header", "just some text\nand more\n", parked("no header block")),
        case("body-only", "\nTo: a@x.org\n\nx\n", parked("no header block")),
        case("binary", vec![0xff, 0xfe, 0, 1, 2, 3], parked("no header block")),
        case("no-from", "To: a@x.org\n\nx\n", parked("no usable From")),
        case("no-to", format!("{FROM}\nx\n"), parked("no recipients")),
        case("empty-to", to(""), parked("no recipients")),
        case("group", to("undisclosed-recipients:;"), parked("no recipients")),
        case("local-name", to("root"), parked("\"root\" cannot be used")),
        case("no-domain", to("a@"), parked("cannot be used")),
        case("no-local-part", to("@x.org"), parked("cannot be used")),
        case("two-dots", to("a@x..org"), parked("cannot be used")),
        case("space", to("<a b@x.org>"), parked("cannot be used")),
        case("nul-address", to("a\0b@x.org"), parked("cannot be used")),
        case("escape-address", to("a\u{1b}[2J@x.org"), parked("cannot be used")),
        case("crlf-quoted", to("\"a\r\nRCPT TO:<evil@x.org>\"@x.org"), parked("cannot be used")),
        case("cr-address", to("a\rb@x.org"), parked("cannot be used")),
        case("stranger", "From: who@else.org\nTo: a@x.org\n\nx\n", parked("no account sends as")),
        case("long-address", to(&format!("{}@x.org", "a".repeat(400))), parked("cannot be used")),
        case("nul-body", format!("{FROM}To: a@x.org\n\na\0b\n"), parked("NUL byte")),
        case("nul-header", format!("{FROM}To: a@x.org\nX-Y: \0\n\nb\n"), parked("NUL byte")),
        case(
            "big-header",
            format!("{FROM}To: a@x.org\nX-Y: {}\nBcc: b@x.org\n\nx\n", "x".repeat(MIB)),
            parked("longer than 1 MiB"),
        ),
        case("bare-cr", format!("{FROM}To: cr@x.org\n\na\rb\r.\rc\n"), Fate::Sent("cr@x.org")),
        case("cr-header", format!("{FROM}To: h@x.org\rX-Y: z\n\nx\n"), Fate::Sent("h@x.org")),
        case("no-newline", format!("{FROM}To: end@x.org"), Fate::Sent("end@x.org")),
        case("dots", format!("{FROM}To: dots@x.org\n\n.\n..\n.\n"), Fate::Sent("dots@x.org")),
    ];
    let mut long = format!("{FROM}To: a@x.org\n\n").into_bytes();
    long.resize(100 * MIB, b'x');
    cases.push(case("long-line", long, parked("a line of it has")));
    cases
}

/// What only `ls -l` tells from a message.
fn odd(new: &Path, elsewhere: &Path) -> [(&'static str, &'static str); 4] {
    symlink(elsewhere, new.join("symlink")).unwrap();
    symlink("/nowhere/at/all", new.join("dangling")).unwrap();
    let fifo = new.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    fs::create_dir(new.join("directory")).unwrap();
    fs::write(new.join("directory/inside"), "kept").unwrap();
    [
        ("symlink", "symbolic link is not followed"),
        ("dangling", "symbolic link is not followed"),
        ("fifo", "pipe has no end"),
        ("directory", "directory is no message"),
    ]
}

fn write(path: &Path, text: &[u8]) {
    fs::File::create(path).and_then(|mut file| file.write_all(text)).unwrap();
}

#[test]
fn forty_bad_drops_have_a_clear_reason_each_and_nothing_is_lost() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}sent_copy = \"none\"\n",
        world.account("work"),
        scripted::smtp_table(&server, "work")
    ));
    let daemon = world.daemon();
    world.ok(&["pause"]);
    let (outbox, tmp) = (world.outbox(), world.path("drops"));
    fs::create_dir(&tmp).unwrap();
    let secret = world.path("elsewhere");
    write(&secret, format!("{FROM}To: leak@x.org\n\nsecret\n").as_bytes());
    let odd = odd(&outbox.join("new"), &secret);
    let linked = world.path("linked");
    write(&linked, format!("{FROM}To: linked@x.org\n\nx\n").as_bytes());
    fs::hard_link(&linked, outbox.join("new/hard-link")).unwrap();
    let (flat, whole) = (flat(), whole());
    for one in &whole {
        write(&tmp.join(one.name), &one.text);
        fs::rename(tmp.join(one.name), outbox.join("new").join(one.name)).unwrap();
    }
    for one in &flat {
        write(&tmp.join(one.name), &one.text);
        fs::rename(tmp.join(one.name), outbox.join(one.name)).unwrap();
    }
    world.ok(&["resume"]);
    let all: Vec<&Case> = flat.iter().chain(&whole).collect();
    let n = |fits: fn(&Fate) -> bool| all.iter().filter(|one| fits(&one.fate)).count();
    let n_parked = n(|fate| matches!(fate, Fate::Parked(_))) + odd.len();
    let (n_held, n_sent) =
        (n(|f| matches!(f, Fate::Held(_))), n(|f| matches!(f, Fate::Sent(_))) + 1);
    assert!(all.len() + odd.len() + 1 >= 40, "{}", all.len());
    eventually("all are settled", SOON, || {
        let status = &daemon.status()["outbox"];
        let done = status["failed"] == n_parked && status["held"] == n_held;
        (done && status["queued"] == 0 && server.sent().len() == n_sent).then_some(())
    });
    settled(
        &world,
        &all,
        &odd,
        &server.sent().iter().map(|m| m.recipients.clone()).collect::<Vec<_>>(),
    );
    assert!(linked.exists() && secret.exists(), "what is elsewhere stays");
    daemon.stop();
}

/// Compares what became of each.
fn settled(world: &World, all: &[&Case], odd: &[(&str, &str)], sent: &[Vec<String>]) {
    let reasons = world.reasons();
    let listed = world.ok(&["outbox", "--json"]).json();
    let held: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["phase"] == "held")
        .map(|one| one["reason"]["text"].as_str().unwrap())
        .collect();
    for one in all {
        match one.fate {
            Fate::Parked(words) => assert!(reasons.contains(words), "{}: {words}", one.name),
            Fate::Held(words) => {
                assert!(held.iter().any(|why| why.contains(words)), "{}: {held:?}", one.name);
            }
            Fate::Sent(to) => {
                let n = sent.iter().filter(|all| all.as_slice() == [to]).count();
                assert_eq!(n, 1, "{}: {sent:?}", one.name);
            }
            Fate::Left => assert!(world.outbox().join(one.name).exists(), "{}", one.name),
        }
    }
    for (name, words) in odd {
        assert!(reasons.contains(words), "{name}: {words}");
    }
    let n_bytes: usize = all
        .iter()
        .filter(|one| !matches!(one.fate, Fate::Sent(_) | Fate::Left))
        .map(|one| one.text.len())
        .sum();
    let kept = ["failed", "cur"]
        .iter()
        .flat_map(|dir| fs::read_dir(world.outbox().join(dir)).unwrap())
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".reason"))
        .map(|entry| fs::symlink_metadata(entry.path()).unwrap())
        .filter(fs::Metadata::is_file)
        .map(|meta| usize::try_from(meta.len()).unwrap())
        .sum::<usize>();
    assert!(kept >= n_bytes, "{kept} bytes are left of {n_bytes}");
    assert!(
        !sent.iter().flatten().any(|to| to.contains("leak") || to.contains("evil")),
        "{sent:?}"
    );
}

#[test]
fn a_mailbox_that_is_copied_into_the_outbox_is_held() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}sent_copy = \"none\"\n",
        world.account("work"),
        scripted::smtp_table(&server, "work")
    ));
    for dir in ["", "new", "tmp"] {
        fs::create_dir_all(world.outbox().join(dir)).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(world.outbox().join(dir), private).unwrap();
    }
    for n in 0..60 {
        world.drop_letter(&format!("{n}.old:2,S"), &format!("{FROM}To: old{n}@x.org\n\nx\n"));
    }
    world.drop_letter("fresh", &format!("{FROM}To: fresh@x.org\n\nx\n"));
    let daemon = world.daemon();
    eventually("all old ones are held", SOON, || {
        (daemon.status()["outbox"]["held"] == 60).then_some(())
    });
    eventually("the fresh one is sent", SOON, || (server.sent().len() == 1).then_some(()));
    assert_eq!(server.sent()[0].recipients, ["fresh@x.org"]);
    let shown = world.ok(&["outbox", "show"]).stdout;
    assert!(shown.contains("as if a mailbox was copied here"), "{shown}");
    daemon.stop();
}
