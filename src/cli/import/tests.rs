use super::*;

/// The TOML of a file, which postrider itself must understand.
fn toml(text: &str) -> String {
    let toml = convert(text).expect("understood").to_toml();
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
        "# mail went to ~/Maildir",
    ] {
        assert!(toml.contains(text), "{text}\n{toml}");
    }
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
