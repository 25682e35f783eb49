//! One request by HTTP/2 on a connection of its own.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tidegate_http2::{Connection, Event, Fields, Limits, RequestLine, StreamId};

use super::http::{Request, USER_AGENT};
use super::probe::{ANSWER_BYTES_MAX, Unfit, receive, send};
use crate::wire::Wire;

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// Empty if no body was sent: then it is not waited for.
    pub body: Vec<u8>,
    /// `grpc-status` of the head or the trailers.
    pub grpc_status: Option<Vec<u8>>,
}

/// Asks with these further header lines and this body. Without body the head of the answer is enough.
pub async fn ask(
    wire: &Wire,
    request: &Request<'_>,
    lines: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, Unfit> {
    static LIMITS: LazyLock<Arc<Limits>> = LazyLock::new(Arc::default);
    let mut connection = Connection::client(LIMITS.clone());
    let line = RequestLine {
        method: request.method.as_bytes(),
        scheme: Some(request.scheme.as_bytes()),
        authority: Some(request.host.as_bytes()),
        path: Some(request.path.as_bytes()),
        protocol: None,
    };
    let stream = connection.open(line, body.is_empty(), |out| {
        out.field(b"user-agent", USER_AGENT.as_bytes());
        lines.iter().for_each(|(name, value)| out.field(name.as_bytes(), value.as_bytes()));
    });
    let stream = stream.map_err(|_| Unfit::Unexpected)?;
    if !body.is_empty() && connection.send_data(stream, body, true) != Ok(body.len()) {
        return Err(Unfit::Unexpected);
    }
    let mut exchange = Exchange {
        connection,
        stream,
        answer: Answer::default(),
        fields: Fields::new(),
        began: Instant::now(),
    };
    loop {
        exchange.flush(wire).await?;
        let mut input = Vec::new();
        receive(wire, &mut input).await?;
        if exchange.take(&input, !body.is_empty())? {
            return Ok(exchange.answer);
        }
    }
}

struct Exchange {
    connection: Connection,
    stream: StreamId,
    answer: Answer,
    fields: Fields,
    began: Instant,
}

impl Exchange {
    async fn flush(&mut self, wire: &Wire) -> Result<(), Unfit> {
        while !self.connection.output().is_empty() {
            let bytes = self.connection.output().len();
            send(wire, self.connection.output()).await?;
            self.connection.advance_output(bytes);
        }
        Ok(())
    }

    /// Takes in what came; true once the answer is there.
    fn take(&mut self, mut input: &[u8], whole: bool) -> Result<bool, Unfit> {
        let now = self.began.elapsed();
        loop {
            let event =
                self.connection.receive(&mut input, &mut self.fields, now).map_err(|_| Unfit::Unexpected)?;
            match event {
                None => return Ok(false),
                Some(Event::Head { stream, end }) if stream == self.stream => {
                    self.answer.status = self.fields.status().unwrap_or_default();
                    self.note_grpc();
                    if end || !whole {
                        return Ok(true);
                    }
                }
                Some(Event::Data { stream, data, end }) if stream == self.stream => {
                    if self.answer.body.len() + data.len() > ANSWER_BYTES_MAX {
                        return Err(Unfit::Unexpected);
                    }
                    self.answer.body.extend_from_slice(data);
                    self.connection.release(stream, data.len());
                    if end {
                        return Ok(true);
                    }
                }
                Some(Event::Trailers { stream }) if stream == self.stream => {
                    self.note_grpc();
                    return Ok(true);
                }
                Some(Event::Reset { stream, .. }) if stream == self.stream => return Err(Unfit::Closed),
                Some(_) => {}
            }
        }
    }

    fn note_grpc(&mut self) {
        if let Some(field) = self.fields.lines().find(|field| field.name == b"grpc-status") {
            self.answer.grpc_status = Some(field.value.to_vec());
        }
    }
}
