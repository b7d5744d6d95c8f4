//! Lists that a sidecar gives in pages, as one.

use serde_json::Value;

use super::asking::Asking;
use crate::cluster::Reply;
use crate::failure::Failure;
use crate::question::with_cursor;

/// The whole list at `path`: asked for page by page. What is no list comes as it is.
pub(super) async fn whole(asking: &Asking<'_>, path: &str) -> Result<Reply, Failure> {
    joined(path, async |path: &str| asking.reply(path, None).await).await
}

async fn joined(path: &str, ask: impl AsyncFn(&str) -> Result<Reply, Failure>) -> Result<Reply, Failure> {
    let mut reply = ask(path).await?;
    let Some((mut list, mut next)) = page(&reply) else { return Ok(reply) };
    loop {
        let answer = ask(&with_cursor(path, &next)).await?;
        let read: Option<Value> = serde_json::from_slice(&answer.body).ok().filter(|_| answer.ok);
        // Half a list would pass for the whole.
        let Some(mut more) = read else { return Ok(answer) };
        let items = more["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let is_empty = items.is_empty();
        if let Some(all) = list["items"].as_array_mut() {
            all.extend(items);
        }
        match more["next"].as_str().filter(|_| !is_empty) {
            Some(cursor) => next = cursor.to_owned(),
            None => break,
        }
    }
    if let Some(list) = list.as_object_mut() {
        list.remove("next");
    }
    reply.body = list.to_string().into();
    Ok(reply)
}

/// A page of a list that goes on, and where.
fn page(reply: &Reply) -> Option<(Value, String)> {
    let document: Value = serde_json::from_slice(&reply.body).ok().filter(|_| reply.ok)?;
    let next = document["next"].as_str().filter(|_| document["items"].is_array())?.to_owned();
    Some((document, next))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::cluster::Notes;

    /// What comes of these answers, one after the other, and what was asked.
    async fn told(answers: &[(bool, &str)]) -> (Reply, Vec<String>) {
        let asked = RefCell::new(Vec::new());
        let ask = async |path: &str| {
            let (ok, body) = answers[asked.borrow().len()];
            asked.borrow_mut().push(path.to_owned());
            Ok::<_, Failure>(Reply { ok, body: body.to_owned().into(), notes: Notes::default() })
        };
        let reply = joined("/v1/binlogs?source=3e11", ask).await.unwrap();
        (reply, asked.into_inner())
    }

    #[tokio::test]
    async fn pages_become_one_list() {
        let answers = [
            (true, r#"{"kind":"BinlogList","items":[1,2],"next":"a/1"}"#),
            (true, r#"{"kind":"BinlogList","items":[3],"next":"a/2"}"#),
            (true, r#"{"kind":"BinlogList","items":[4]}"#),
        ];
        let (reply, asked) = told(&answers).await;
        assert_eq!(&reply.body[..], br#"{"items":[1,2,3,4],"kind":"BinlogList"}"#);
        assert_eq!(asked[1..], ["/v1/binlogs?source=3e11&cursor=a%2F1", "/v1/binlogs?source=3e11&cursor=a%2F2"]);
    }

    #[tokio::test]
    async fn what_goes_on_in_no_other_way_is_left_alone() {
        // A search in a timeline goes on where whoever asked wants it to.
        for whole in [r#"{"items":[1]}"#, r#"{"transactions":[1],"next":"7"}"#, "no JSON"] {
            let (reply, asked) = told(&[(true, whole)]).await;
            assert_eq!((&reply.body[..], asked.len()), (whole.as_bytes(), 1));
        }
    }

    #[tokio::test]
    async fn a_list_that_breaks_off_is_its_error_and_one_without_end_ends() {
        let broken = [(true, r#"{"items":[1],"next":"a"}"#), (false, r#"{"kind":"Error"}"#)];
        let (reply, _) = told(&broken).await;
        assert!(!reply.ok && &reply.body[..] == br#"{"kind":"Error"}"#);
        let endless = [(true, r#"{"items":[1],"next":"a"}"#), (true, r#"{"items":[],"next":"a"}"#)];
        assert_eq!(&told(&endless).await.0.body[..], br#"{"items":[1]}"#);
    }
}
