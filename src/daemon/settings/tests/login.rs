//! How an account logs in, and what its preset says of that.

use super::*;

#[test]
fn a_token_command_brings_its_mechanisms_and_no_others() {
    let account = |keys: &str, auth: &str| {
        format!(
            "[account.work]\naddress = \"me@example.com\"\n{keys}\n[account.work.imap]\n\
             host = \"imap.example.com\"\n{auth}"
        )
    };
    let token = "oauth = { token_command = ['oama', 'access'] }";
    let found = good(&account(token, "")).accounts.remove(&AccountName("work".to_owned())).unwrap();
    let endpoint = found.imap.unwrap().endpoint;
    assert_eq!(endpoint.auth, [Mechanism::OAuthBearer, Mechanism::XOAuth2]);
    let argv = vec!["oama".to_owned(), "access".to_owned()];
    assert_eq!(endpoint.password, Some(SecretSource::Token(argv)));
    let misfit = "c.toml:4:15: account.work.imap.auth: does not fit: oauthbearer and xoauth2 go";
    refused(&account(token, "auth = ['plain']"), &[misfit]);
    let both = "c.toml:3:28: account.work.oauth.token_command: needs nothing beside it";
    refused(&account("oauth = { client_id = 'x', token_command = ['a'] }", ""), &[both]);
}

#[test]
fn a_registration_is_completed_by_the_preset_or_says_what_is_missing() {
    let account = |address: &str, oauth: &str| {
        format!(
            "[account.work]\naddress = \"{address}\"\noauth = {oauth}\n[account.work.imap]\n\
             host = \"imap.example.com\"\n"
        )
    };
    let read = |address: &str, oauth: &str| {
        let mut settings = good(&account(address, oauth));
        let found = settings.accounts.remove(&AccountName("work".to_owned())).unwrap();
        let endpoint = found.imap.unwrap().endpoint;
        assert_eq!(endpoint.auth, [Mechanism::OAuthBearer, Mechanism::XOAuth2]);
        match endpoint.password {
            Some(SecretSource::OAuth(oauth)) => *oauth,
            other => panic!("{other:?}"),
        }
    };
    let google = read("me@gmail.com", "{ client_id = 'x' }");
    assert_eq!(google.issuer.scopes, ["https://mail.google.com/"]);
    assert_eq!((google.login_hint.as_str(), google.store.keyring), ("me@gmail.com", None));
    assert!(google.store.file.ends_with("tokens/account/work.json"));
    let other =
        read("me@a.b", "{ client_id = 'x', issuer = 'microsoft', keyring = true, scopes = ['s'] }");
    assert_eq!(other.issuer.scopes, ["s"]);
    assert_eq!(other.store.keyring.as_deref(), Some("account/work"));
    let own = "{ client_id = 'x', client_secret = { env = 'S' }, issuer = { auth_url = 'https://a.b/x', \
               token_url = 'http://127.0.0.1:1/t', scopes = ['s'] } }";
    let own = read("me@a.b", own);
    assert_eq!(
        (own.issuer.name.as_str(), own.client_secret),
        ("a.b", Some(SecretSource::Env("S".to_owned())))
    );
    let at = "c.toml:3:";
    for (oauth, wanted) in [
        (
            "{ client_id = 'x' }",
            "1: account.work.oauth.issuer: is missing: one of aol, comcast, fastmail, google",
        ),
        (
            "{ issuer = 'google' }",
            "1: account.work.oauth.client_id: is missing: register postrider",
        ),
        (
            "{ client_id = 'x', issuer = 'gogle' }",
            "37: account.work.oauth.issuer: there is no issuer \"gogle\"",
        ),
        (
            "{ client_id = 'x', issuer = { auth_url = 'http://a.b', token_url = 'https://a.b', scopes = ['s'] } }",
            "50: account.work.oauth.issuer.auth_url: must begin with https://",
        ),
        (
            "{ client_id = 'x', issuer = 'google', client_secret = { keyring = true } }",
            "63: account.work.oauth.client_secret: cannot be in the keyring",
        ),
    ] {
        refused(&account("me@a.b", oauth), &[&format!("{at}{wanted}")]);
    }
}

#[test]
fn secrets_are_never_shown_and_need_a_private_file() {
    let text = ACCOUNT.replace("{ command = [\"pass\", \"show\", \"work\"] }", "'hunter2'");
    assert_eq!(error_of(&text, true), "");
    let error = error_of(&text, false);
    assert!(
        error.starts_with("c.toml:3:12: account.work.password: a password in a file"),
        "{error}"
    );
    assert!(error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
    assert_eq!(error_of(ACCOUNT, false), "", "a command needs no private file");
    let broken = text.replace("'hunter2'", "'hunter2");
    let error = error_of(&broken, true);
    assert!(error.starts_with("c.toml:3:") && !error.contains("hunter2"), "{error}");
    let forms = [
        ("{ command = [] }", "c.toml:3:24: account.work.password.command: names no program"),
        ("{ command = [''] }", "c.toml:3:24: account.work.password.command: names no program"),
        ("{ command = 'pass' }", "c.toml:3:24: account.work.password.command: expected an array"),
        (
            "{ fiel = '/x' }",
            "c.toml:3:14: account.work.password.fiel: unknown key; did you mean \"file\"?",
        ),
        ("{ file = '/x', env = 'Y' }", "c.toml:3:1: account.work.password: needs exactly one of"),
        (
            "{ credential = '../x' }",
            "c.toml:3:27: account.work.password.credential: is not the name",
        ),
        ("12345", "c.toml:3:12: account.work.password: expected a string or a table, found an int"),
    ];
    for (form, wanted) in forms {
        refused(&text.replace("'hunter2'", form), &[wanted]);
    }
}

#[test]
fn a_preset_fills_in_what_is_left_out_and_an_explicit_value_wins() {
    let account = |text: &str| good(text).accounts.into_values().next().unwrap();
    let password = "password = { command = ['x'] }\n";
    let icloud = account(&format!("[account.a]\naddress = 'me@icloud.com'\n{password}"));
    let (imap, smtp) = (icloud.imap.unwrap().endpoint, icloud.smtp.unwrap().endpoint);
    assert_eq!((imap.host.as_str(), imap.port, imap.tls), ("imap.mail.me.com", 993, Tls::Implicit));
    assert_eq!((smtp.host.as_str(), smtp.port, smtp.tls), ("smtp.mail.me.com", 587, Tls::StartTls));
    assert_eq!((imap.user.as_str(), smtp.user.as_str()), ("me", "me@icloud.com"));

    let gmail = "[account.a]\naddress = 'me@example.org'\nprovider = 'gmail'\n";
    let gmail = account(&format!("{gmail}{password}[account.a.imap]\n[account.a.smtp]\n"));
    assert_eq!(gmail.imap.unwrap().endpoint.host, "imap.gmail.com");
    assert_eq!(gmail.smtp.unwrap().sent_copy, SentCopy::Server);
    assert_eq!(gmail.sync.leave_out, [Role::All, Role::Important, Role::Flagged]);
    let chosen = "[account.a.imap]\n[account.a.sync]\nmailboxes = ['*']\n";
    let all = account(&format!("[account.a]\naddress = 'me@gmail.com'\n{password}{chosen}"));
    assert!(all.sync.leave_out.is_empty() && all.smtp.is_none());

    let own =
        "[account.a.imap]\nhost = 'other.example'\n[account.a.smtp]\nport = 465\nuser = 'u'\n";
    let own = account(&format!("[account.a]\naddress = 'me@icloud.com'\n{password}{own}"));
    let (imap, smtp) = (own.imap.unwrap().endpoint, own.smtp.unwrap().endpoint);
    assert_eq!((imap.user.as_str(), imap.host.as_str()), ("me@icloud.com", "other.example"));
    assert_eq!((smtp.port, smtp.tls, smtp.user.as_str()), (465, Tls::Implicit, "u"));

    let pop = format!("[account.a]\naddress = 'me@web.de'\n{password}[account.a.pop3]\n");
    let pop = account(&pop).pop3.unwrap();
    assert_eq!(pop.login_gap, Duration::from_secs(900));
    let pop = pop.endpoint;
    assert_eq!((pop.host.as_str(), pop.user.as_str(), pop.port), ("pop3.web.de", "me", 995));
    let refusals = [
        ("me@gmail.com", "none", "c.toml:1:10: account.a: has neither"),
        (
            "me@example.org",
            "gmial",
            "c.toml:3:12: account.a.provider: there is no preset \"gmial\"",
        ),
    ];
    for (address, provider, wanted) in refusals {
        let text =
            format!("[account.a]\naddress = '{address}'\nprovider = '{provider}'\n{password}");
        let error = error_of(&text, true);
        assert!(error.lines().any(|line| line.starts_with(wanted)), "{error}");
    }
}

#[test]
fn what_is_left_open_is_what_neither_the_file_nor_a_preset_decides() {
    let endpoint = |address: &str, imap: &str| {
        let text = format!(
            "[account.a]\naddress = '{address}'\npassword = {{ command = ['x'] }}\n[account.a.imap]\n{imap}"
        );
        good(&text).accounts.into_values().next().unwrap().imap.unwrap().endpoint
    };
    let open = |address: &str, imap: &str| {
        let open = endpoint(address, imap).open.unwrap();
        assert!(open.memory.ends_with("postrider/servers/imap/a.json"), "{open:?}");
        let ways = open.ways.iter().map(|way| format!("{} {}", way.port, way.tls.as_str()));
        (ways.collect::<Vec<_>>().join(", "), open.users.join(", "))
    };
    let check = |address: &str, imap: &str, ways: &str, users: &str| {
        assert_eq!(open(address, imap), (ways.to_owned(), users.to_owned()), "{imap}");
    };
    let both = "993 implicit, 143 starttls";
    check("me@a.b", "host = 'h'\n", both, "me@a.b, me");
    check("me@a.b", "host = 'h'\nport = 2993\n", "2993 implicit, 2993 starttls", "me@a.b, me");
    for (given, way) in [
        ("port = 143\n", "143 starttls"),
        ("port = 993\n", "993 implicit"),
        ("tls = 'starttls'\n", "143 starttls"),
        ("port = 1\ntls = 'starttls'\n", "1 starttls"),
    ] {
        check("me@a.b", &format!("host = 'h'\nuser = 'u'\n{given}"), way, "u");
    }
    check("me@icloud.com", "", "993 implicit", "me, me@icloud.com");
    check("me@icloud.com", "user = 'me'\n", "993 implicit", "me");
    check("me@gmail.com", "", "993 implicit", "me@gmail.com");
    check("me@gmail.com", "host = 'h'\n", both, "me@gmail.com, me");
    check("me@127.0.0.1", "host = '127.0.0.1'\ntls = 'none'\nuser = 'u'\n", "143 none", "u");
    let decided = "host = 'h'\nport = 993\nuser = 'u'\nauth = ['plain']\n";
    assert_eq!(endpoint("me@a.b", decided).open, None);
    assert_eq!(endpoint("me@a.b", decided).advice, None);
    let advice = endpoint("me@icloud.com", "").advice.unwrap();
    assert!(advice.starts_with("iCloud Mail: the password is an app-specific one"), "{advice}");
    let token = "[account.a]\naddress = 'me@a.b'\noauth = { token_command = ['x'] }\n[account.a.imap]\nhost = 'h'\n";
    let token = good(token).accounts.into_values().next().unwrap().imap.unwrap().endpoint;
    assert_eq!(token.open.unwrap().users, ["me@a.b"], "a token names its user itself");
}
