//! Accounts that fetch by POP3.

use super::*;

const POP: &str = r#"[account.home]
address = "me@example.com"
password = { command = ["pass"] }
[account.home.pop3]
host = "pop.example.com"
"#;

#[test]
fn pop3_has_the_defaults_of_the_product_page_and_each_policy() {
    let home = |more: &str| {
        let settings = good(&format!("{POP}{more}"));
        settings.accounts[&AccountName("home".to_owned())].clone()
    };
    let pop = home("").pop3.unwrap();
    assert_eq!((pop.endpoint.port, pop.endpoint.tls), (995, Tls::Implicit));
    assert_eq!((pop.leave, pop.mailbox), (Leave::Forever, MailboxName::inbox()));
    let days = |n: u64| Leave::For(Duration::from_secs(n * 86_400));
    let policies = [
        ("forever", Leave::Forever),
        ("remove", days(0)),
        ("7d", days(7)),
        ("until-moved", Leave::UntilMoved),
    ];
    for (word, wanted) in policies {
        assert_eq!(home(&format!("leave = '{word}'\n")).pop3.unwrap().leave, wanted);
    }
    let plain = home("port = 110\nmailbox = 'Old'\nuser = 'recent:me@gmail.com'\n").pop3.unwrap();
    assert_eq!((plain.endpoint.tls, plain.mailbox.as_str()), (Tls::StartTls, "Old"));
    assert_eq!(plain.endpoint.user, "recent:me@gmail.com");
    let limits = home("[account.home.sync]\nmax_size = '10MiB'\nmax_age = 'none'\n").sync.limits;
    assert_eq!(limits, Limits { max_size: Some(10 << 20), ..Limits::default() });
    // The copy that Gmail files by itself never comes here, so that one is made.
    let gmail = good(
        "[account.g]\naddress = \"me@gmail.com\"\npassword = { command = [\"p\"] }\npop3 = {}\nsmtp = {}\n",
    );
    let gmail = gmail.accounts[&AccountName("g".to_owned())].clone();
    assert_eq!(gmail.pop3.unwrap().endpoint.host, "pop.gmail.com");
    assert_eq!(gmail.smtp.unwrap().sent_copy, SentCopy::Auto);
    // Where mail is sent with the same login, Gmail's word for what to list is no part of it.
    let smtp = "user = 'recent:me@gmail.com'\n[account.home.smtp]\nhost = 'smtp.gmail.com'\n";
    assert_eq!(home(smtp).smtp.unwrap().endpoint.user, "me@gmail.com");
}

#[test]
fn what_pop3_cannot_do_is_refused_with_the_reason() {
    refused(
        &format!("{POP}leave = 'ever'\npush = ['INBOX']\nclient_cert = '/x'\n"),
        &[
            "c.toml:6:9: account.home.pop3.leave: \"ever\" is not \"forever\", \"remove\"",
            "c.toml:7:1: account.home.pop3.push: unknown key",
            "c.toml:8:1: account.home.pop3.client_cert: unknown key",
        ],
    );
    refused(
        &format!("{POP}[account.home.sync]\nmax_age = '7d'\ndelete = 'trash'\nmax_messages = 5\n"),
        &[
            "c.toml:7:1: account.home.sync.max_age: cannot be kept to: POP3 tells no dates",
            "c.toml:8:1: account.home.sync.delete: has no meaning for POP3",
            "c.toml:9:1: account.home.sync.max_messages: cannot be kept to: POP3 has no order",
        ],
    );
    refused(
        &with_account("[account.work.pop3]\nhost = 'h'\n"),
        &["c.toml:6:15: account.work.pop3: and imap: an account has one of them"],
    );
}
