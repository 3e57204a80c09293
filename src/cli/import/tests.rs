use super::*;

/// The TOML of a file, which postrider itself must understand.
fn toml(text: &str) -> String {
    is_understood(convert(text).expect("understood").to_toml())
}

fn is_understood(toml: String) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, &toml).unwrap();
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    if let Err(err) = crate::daemon::settings::load(&file) {
        panic!("{err}\n{toml}");
    }
    toml
}

#[test]
fn an_mbsyncrc_becomes_an_account_with_its_maildir_patterns_and_policies() {
    let toml = toml(
        "IMAPAccount work\nHost imap.example.com\nUser me@example.com\nPassCmd \"pass show work\"\n\
         TLSType IMAPS\n\nIMAPStore work-remote\nAccount work\n\nMaildirStore work-local\n\
         Path /home/me/Mail/work/\nInbox /home/me/Mail/work/INBOX\nSubFolders Verbatim\n\nChannel work\nFar :work-remote:\n\
         Near :work-local:\nPatterns * !\"[Gmail]/All Mail\" !Junk\nCreate Both\nExpunge Both\nSyncState *\n",
    );
    for line in [
        "[account.work]",
        "address = \"me@example.com\"",
        "maildir = \"/home/me/Mail/work\"",
        "password = { command = [\"pass\", \"show\", \"work\"] }",
        "host = \"imap.example.com\"",
        "mailboxes = [\"*\", \"![Gmail]/All Mail\", \"!Junk\"]",
        "delete = \"expunge\"",
    ] {
        assert!(toml.lines().any(|l| l == line), "{line}\n{toml}");
    }
    assert!(!toml.contains('#'), "{toml}");
}

#[test]
fn what_an_mbsyncrc_says_and_we_cannot_is_a_comment() {
    let toml = toml(
        "IMAPStore r\nHost mail.example.com\nUser me\nPass secret\nSSLType STARTTLS\nPort 1143\n\n\
         MaildirStore l\nPath /m\nInbox /m/in\nSubFolders Legacy\n\nChannel c\nMaster :r:\nSlave :l:\nSync Pull\n",
    );
    for text in [
        "port = 1143",
        "tls = \"starttls\"",
        "direction = \"pull\"",
        "create = \"none\"",
        "# the address is a guess",
        "# SubFolders Legacy",
        "# there was no Expunge",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
}

#[test]
fn an_offlineimaprc_becomes_accounts_and_its_python_comments() {
    let toml = toml(
        "[general]\naccounts = Home\n[Account Home]\nlocalrepository = L\nremoterepository = R\n\
         [Account Old]\nlocalrepository = L2\nremoterepository = R\n[Repository L2]\ntype = Maildir\n\
         localfolders = /old\nsep = /\n[Repository L]\ntype = Maildir\nlocalfolders = /home/me/Mail\nsep = /\n\
         [Repository R]\ntype = IMAP\nremotehost = imap.example.com\nremoteuser = me@example.com\n\
         remotepassfile = /home/me/.pw\nssl = yes\nsslcacertfile = OS-DEFAULT\n\
         folderfilter = lambda f: f not in\n\x20 ['Junk']\n",
    );
    for text in [
        "[account.Home]",
        "maildir = \"/home/me/Mail\"",
        "password = { file = \"/home/me/.pw\" }",
        "# folderfilter was Python",
        "['Junk']",
        "[account.Old]",
        "enabled = false",
        "delete = \"expunge\"",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
}

#[test]
fn an_msmtprc_becomes_accounts_that_send_only() {
    let toml = toml(
        "defaults\nauth on\ntls on\ntls_trust_file /etc/ssl/certs/ca-certificates.crt\n\naccount work\n\
         host smtp.example.com\nport 465\ntls_starttls off\nfrom me@example.com\nuser me\n\
         passwordeval \"gpg -q -d ~/.pw.gpg\"\n\naccount default : work\n",
    );
    for text in [
        "[account.work]",
        "[account.work.smtp]",
        "port = 465",
        "tls = \"implicit\"",
        "user = \"me\"",
        "command = [\"sh\", \"-c\", \"gpg -q -d ~/.pw.gpg\"]",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
    assert!(!toml.contains("default") && !toml.contains("ca_file"), "{toml}");
}

#[test]
fn a_getmailrc_becomes_a_pop3_account() {
    let toml = toml(
        "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = pop.example.com\nusername = me@example.com\n\
         password_command = (\"pass\", \"show\", \"pop\")\n[destination]\ntype = Maildir\npath = ~/Maildir/\n\
         [options]\ndelete_after = 30\nmax_message_size = 1000000\n",
    );
    for text in [
        "[account.\"pop.example.com\".pop3]",
        "leave = \"30d\"",
        "max_size = \"1000000\"",
        "command = [\"pass\", \"show\", \"pop\"]",
        "maildir = \"~/Maildir\"",
        "layout = \"maildir++\"",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
}

/// What several files say together.
fn together(texts: &[&str]) -> String {
    let mut all = Draft::default();
    texts.iter().for_each(|text| all.join(convert(text).expect("understood")));
    is_understood(all.to_toml())
}

/// As mutt-wizard writes them.
const WIZARD_MBSYNC: &str = "IMAPStore me@example.com-remote\nHost imap.example.com\nPort 993\n\
    User me@example.com\nPassCmd \"pass me@example.com\"\nAuthMechs LOGIN\nTLSType IMAPS\n\
    CertificateFile /etc/ssl/certs/ca-certificates.crt\n\nMaildirStore me@example.com-local\n\
    Subfolders Verbatim\nPath /home/me/.local/share/mail/me@example.com/\n\
    Inbox /home/me/.local/share/mail/me@example.com/INBOX\n\nChannel me@example.com\nExpunge Both\n\
    Far :me@example.com-remote:\nNear :me@example.com-local:\n\
    Patterns * !\"[Gmail]/All Mail\" !\"*fts-flatcurve*\" !\"*virtual*\"\nCreate Both\nSyncState *\n\
    MaxMessages 0\nExpireUnread no\n# End profile\n\n\
    IMAPStore work-remote\nHost mail.work.example\nPort  993\nUser me\nPassCmd \"pass mutt-wizard-work\"\n\
    SSLType IMAPS\nCertificateFile /etc/ssl/certs/ca-certificates.crt\n\nMaildirStore work-local\n\
    Subfolders Verbatim\nPath /home/me/.local/share/mail/work/\n\
    Inbox /home/me/.local/share/mail/work/INBOX\nFlatten .\n\nChannel work\nExpunge Both\n\
    Master :work-remote:\nSlave :work-local:\nPatterns * !\"[Gmail]/All Mail\"\nCreate Both\n\
    SyncState *\nMaxMessages 1000\nExpireUnread no\n# End profile\n";
const WIZARD_MSMTP: &str = "defaults\nauth\ton\ntls\ton\n\
    tls_trust_file\t/etc/ssl/certs/ca-certificates.crt\nlogfile\t~/.config/msmtp/msmtp.log\n\n\
    account me@example.com\nhost smtp.example.com\nport 465\nfrom me@example.com\nuser me@example.com\n\
    passwordeval \"pass me@example.com\"\nauth plain\ntls_starttls off\n\naccount work\n\
    host smtp.work.example\nport 587\nfrom me@corp.example\nuser me\n\
    passwordeval \"pass mutt-wizard-work-out\"\n\n";

#[test]
fn what_mutt_wizard_wrote_becomes_accounts_that_receive_and_send() {
    let toml = together(&[WIZARD_MBSYNC, WIZARD_MSMTP]);
    for text in [
        "[account.\"me@example.com\"]\n",
        "[account.\"me@example.com\".smtp]\nhost = \"smtp.example.com\"\nport = 465\ntls = \"implicit\"\n",
        "maildir = \"/home/me/.local/share/mail/me@example.com\"",
        "mailboxes = [\"*\", \"![Gmail]/All Mail\", \"!*fts-flatcurve*\", \"!*virtual*\"]",
        "[account.work]\n# Flatten . has no counterpart: rename directories like a.b to a/b\n",
        // What is sent from is no guess.
        "address = \"me@corp.example\"",
        "max_messages = 1000",
        "user = \"me\"\npassword = { command = [\"pass\", \"mutt-wizard-work-out\"] }",
        "# has no counterpart here: expireunread no",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
    for text in ["remote", "ca_file", "guess", "authmechs", "expunge both"] {
        assert!(!toml.contains(text), "{text}\n{toml}");
    }
    assert_eq!(toml.matches("address = ").count(), 2, "{toml}");
    assert_eq!(toml.matches("password = ").count(), 3, "{toml}");
}

#[test]
fn what_mutt_wizard_wrote_for_pop_is_no_outgoing_server() {
    let toml = toml(
        "account pop@example.com\ntls on\nuser pop@example.com\nhost pop.example.com\n\
         delivery maildir /home/me/.local/share/mail/pop@example.com/INBOX\n\
         passwordeval pass pop@example.com\n",
    );
    for text in [
        "[account.\"pop@example.com\".pop3]",
        "maildir = \"/home/me/.local/share/mail/pop@example.com\"",
        "leave = \"remove\"",
        "user = \"pop@example.com\"",
        "command = [\"pass\", \"pop@example.com\"]",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
    assert!(!toml.contains("smtp") && !toml.contains('#'), "{toml}");
}

#[test]
fn a_command_that_printed_tokens_goes_on_to_do_so() {
    let mbsync = WIZARD_MBSYNC.replace("AuthMechs LOGIN", "AuthMechs XOAUTH2");
    let msmtp = WIZARD_MSMTP.replace("auth plain", "auth xoauth2");
    let line = "oauth = { token_command = [\"pass\", \"me@example.com\"] }";
    let toml = together(&[&mbsync, &msmtp]);
    assert_eq!(toml.matches(line).count(), 1, "{toml}");
    let toml = is_understood(
        convert(
            "[retriever]\ntype = SimpleIMAPSSLRetriever\nuse_xoauth2 = True\nserver = imap.gmail.com\n\
             username = your-gmail-user@gmail.com\n\
             password_command = (\"getmail-gmail-xoauth-tokens\", \"/home/me/the file.json\")\n",
        )
        .unwrap()
        .to_toml(),
    );
    let line =
        "oauth = { token_command = [\"getmail-gmail-xoauth-tokens\", \"/home/me/the file.json\"] }";
    assert!(toml.contains(line), "{toml}");
}

#[test]
fn the_examples_of_getmail_become_accounts_and_the_rest_is_told() {
    let toml = toml(
        "[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = imap.gmail.com \nport = 993\n\
         username = me@gmail.com\npassword_command = (\"pass\", \"me@gmail.com\")\n\
         mailboxes = (\"INBOX\", \"INBOX.spam\",\n  \"mailing-lists.getmail-users\")\nmove_on_delete = sent-mail\n\n\
         [filter-1]\ntype = Filter_external\npath = /usr/local/bin/spamc\n\n\
         [destination]\ntype = Maildir\npath = ~/Mail/me@gmail.com/INBOX/\nuser = me\n\n\
         [options]\nread_all = true\ndelete = true\nmessage_log = ~/.getmail/log\n",
    );
    for text in [
        "maildir = \"~/Mail/me@gmail.com\"\n",
        "mailboxes = [\"INBOX\", \"INBOX.spam\", \"mailing-lists.getmail-users\"]",
        "# has no counterpart here: move_on_delete sent-mail",
        "# has no counterpart here: delete true",
        "# has no counterpart here: message_log ~/.getmail/log",
        "# has no counterpart here: user me",
        "# has no counterpart here: [filter-1], use a hook",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
    assert!(!toml.contains("maildir++") && !toml.contains("read_all"), "{toml}");
    let toml = is_understood(
        convert(
            "[retriever]\ntype = SimplePOP3Retriever\nserver = pop.example.net\nusername = jeff.plotzky\n\
             password = mailpassword\n\n[destination]\ntype = Maildir\npath = ~jeffp/Maildir/\n",
        )
        .unwrap()
        .to_toml(),
    );
    assert!(toml.contains("# mail went to ~jeffp/Maildir, another user's"), "{toml}");
    let mda = "[retriever]\ntype = SimplePOP3Retriever\nserver = pop.example.net\nusername = j\n\
               [destination]\ntype = MDA_external\npath = /usr/local/bin/my-mda\n";
    let toml = convert(mda).unwrap().to_toml();
    assert!(toml.contains("# the destination was no Maildir"), "{toml}");
    assert!(toml.contains("# has no counterpart here: path /usr/local/bin/my-mda"), "{toml}");
}

#[test]
fn what_is_none_of_them_is_refused() {
    assert!(convert("hello\nworld\n").is_none());
    assert!(convert("").is_none());
    assert!(convert("IMAPAccount x\nHost h\n").is_none(), "no channel");
}

#[test]
fn what_an_mbsyncrc_says_and_nobody_here_understands_is_told() {
    let text = "Create Both\nExpunge Both\n\nIMAPStore far\nHost h.example\nUser u@example.org\n\
                PassCmd \"pass x\"\nMaxSize 1m\nBogus yes\n\nMaildirStore near\nPath ~/m/\nInbox ~/m/INBOX\n\
                SubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nSyncState *\n\
                TrashNewOnly yes\n";
    let toml = convert(text).unwrap().to_toml();
    assert!(toml.contains("max_size = \"1MiB\""), "{toml}");
    assert!(toml.contains("delete = \"expunge\""), "{toml}");
    assert!(!toml.contains("create = "), "both is what it is here: {toml}");
    for note in
        ["# has no counterpart here: bogus yes", "# has no counterpart here: trashnewonly yes"]
    {
        assert!(toml.contains(note), "{toml}");
    }
    assert!(!toml.contains("syncstate"), "{toml}");
    let text = "account a\nhost h\nfrom a@example.org\npassword secret\nsocket /x\nmy_password y\ntls on\nauth on\n";
    let toml = convert(text).unwrap().to_toml();
    assert!(toml.contains("# has no counterpart here: socket /x"), "{toml}");
    assert!(toml.contains("# has no counterpart here: my_password …"), "{toml}");
}
