use super::*;

fn tokens(obtained: u64, expires: u64) -> Tokens {
    Tokens {
        client_id: "id".to_owned(),
        token_url: "https://a.b/".to_owned(),
        refresh_token: Zeroizing::default(),
        access_token: Zeroizing::default(),
        obtained,
        expires,
        is_refused: false,
    }
}

#[test]
fn a_token_is_renewed_five_minutes_ahead_or_a_fifth_of_its_life() {
    let hour = tokens(1000, 4600);
    assert!(hour.is_fresh(1000) && hour.is_fresh(4299));
    assert!(!hour.is_fresh(4300) && !hour.is_fresh(5000));
    assert!(!hour.is_fresh(999), "the clock went back");
    let minute = tokens(1000, 1060);
    assert!(minute.is_fresh(1047) && !minute.is_fresh(1048));
    assert!(!tokens(1000, 1000).is_fresh(1000));
}
