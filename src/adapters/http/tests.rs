use postrider_mailserver::web::{Reply, WebServer};

use super::*;

fn web(redirects_max: u8) -> Web {
    Web {
        purpose: "test",
        ca_file: None,
        timeout: Duration::from_millis(500),
        body_max: 1000,
        redirects_max,
        dns: None,
    }
}

async fn get(web: &Web, url: &str) -> Result<String, Failure> {
    let answer = web.send(Request { url, headers: Vec::new(), body: None }).await?;
    Ok(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

fn server() -> WebServer {
    WebServer::start(|request| match request.path.as_str() {
        "/big" => Reply::new(200, "text/plain", &"x".repeat(1001)),
        "/slow" => Reply { delay: Duration::from_secs(20), ..Reply::new(200, "text/plain", "") },
        "/hop" => Reply::redirect("/page?x=1"),
        "/loop" => Reply::redirect("/loop"),
        "/out" => Reply::redirect("http://example.org/"),
        path => Reply::new(200, "text/plain", &format!("{path} {}", request.field("x"))),
    })
    .unwrap()
}

#[tokio::test]
async fn answers_are_bounded_in_size_time_and_redirects() {
    let server = server();
    let at = |path: &str| format!("{}{path}", server.url());
    assert_eq!(get(&web(0), &at("/page?x=2")).await.unwrap(), "200 /page 2");
    assert_eq!(get(&web(1), &at("/hop")).await.unwrap(), "200 /page 1");
    assert_eq!(get(&web(0), &at("/hop")).await.unwrap(), "302 ");
    let kind = async |path: &str| get(&web(3), &at(path)).await.unwrap_err().kind;
    assert_eq!(kind("/big").await, Kind::Protocol);
    assert_eq!(kind("/slow").await, Kind::Timeout);
    assert_eq!(kind("/loop").await, Kind::Protocol);
    assert_eq!(kind("/out").await, Kind::Protocol, "cleartext is for this machine only");
    let url = server.url();
    drop(server);
    assert_eq!(get(&web(0), &url).await.unwrap_err().kind, Kind::Offline);
}

#[tokio::test]
async fn a_post_is_sent_to_nobody_else() {
    let server = server();
    let body = Some(Zeroizing::new(b"secret=1".to_vec()));
    let request = Request { url: &format!("{}/hop", server.url()), headers: Vec::new(), body };
    assert_eq!(web(5).send(request).await.unwrap().status, 302);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn an_address_is_encrypted_or_on_this_machine_and_stays_so() {
    for good in ["https://a.b/c?d", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost"] {
        check_address(good).unwrap();
    }
    for bad in
        ["http://a.b/", "ftp://a.b/", "https://me@a.b/", "https://me:x@a.b/", "a.b", "", "https://"]
    {
        assert!(check_address(bad).is_err(), "{bad}");
    }
    let from = Url::parse("https://a.b/c/d").unwrap();
    assert_eq!(next(&from, "../e").unwrap().as_str(), "https://a.b/e");
    assert_eq!(next(&from, "https://c.d/").unwrap().as_str(), "https://c.d/");
    for bad in ["http://a.b/", "http://127.0.0.1/", "file:///etc/passwd", "https://x@a.b/"] {
        assert!(next(&from, bad).is_err(), "{bad}");
    }
}
