//! A real SMTP server on the loopback interface that stores messages and can refuse them. Shared with the demo.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A received message.
#[derive(Debug, Clone)]
pub struct Message {
    pub to: Vec<String>,
    pub raw: Vec<u8>,
}

impl Message {
    fn parsed<T>(&self, read: impl FnOnce(&mail_parser::Message<'_>) -> Option<T>) -> Option<T> {
        mail_parser::MessageParser::default()
            .parse(&self.raw)
            .and_then(|message| read(&message))
    }

    pub fn subject(&self) -> String {
        self.parsed(|message| message.subject().map(str::to_owned))
            .unwrap_or_default()
    }

    pub fn message_id(&self) -> String {
        self.parsed(|message| message.message_id().map(str::to_owned))
            .unwrap_or_default()
    }

    pub fn text(&self) -> String {
        self.parsed(|message| message.body_text(0).map(|text| text.replace("\r\n", "\n")))
            .unwrap_or_default()
    }

    pub fn html(&self) -> String {
        self.parsed(|message| message.body_html(0).map(std::borrow::Cow::into_owned))
            .unwrap_or_default()
    }

    pub fn attachment(&self) -> Option<String> {
        self.parsed(|message| {
            message
                .attachment(0)
                .and_then(|part| part.text_contents().map(str::to_owned))
        })
    }
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    /// Recipients to refuse, each with the response.
    refused: Vec<(String, String)>,
    /// Responses to the next `DATA` commands, one per command, instead of accepting the message.
    data_answers: Vec<String>,
}

#[derive(Clone)]
pub struct SmtpServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl SmtpServer {
    /// Starts on a free port. Ends with the runtime.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = server.state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                // Clients may disconnect at any time.
                tokio::spawn(async move { serve_client(stream, &state).await.ok() });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn messages(&self) -> Vec<Message> {
        self.state.lock().unwrap().messages.clone()
    }

    /// Refuses a recipient with a response such as `550 no such user`.
    pub fn refuse(&self, recipient: &str, answer: &str) {
        self.state
            .lock()
            .unwrap()
            .refused
            .push((recipient.to_owned(), answer.to_owned()));
    }

    /// Responds to the next `DATA` command with `answer`.
    pub fn answer_data(&self, answer: &str) {
        self.state
            .lock()
            .unwrap()
            .data_answers
            .push(answer.to_owned());
    }
}

async fn serve_client(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut to = Vec::new();
    stream.write_all(b"220 localhost test server\r\n").await?;
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let command = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer = match command.as_str() {
            "EHLO" => "250-localhost\r\n250-8BITMIME\r\n250 SMTPUTF8".to_owned(),
            "HELO" | "NOOP" => "250 ok".to_owned(),
            "MAIL" | "RSET" => {
                to.clear();
                "250 ok".to_owned()
            }
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                let refused = state
                    .lock()
                    .unwrap()
                    .refused
                    .iter()
                    .find(|(recipient, _)| *recipient == address)
                    .cloned();
                to.push(address);
                refused.map_or("250 ok".to_owned(), |(_, answer)| answer)
            }
            "DATA" => {
                let refusal = {
                    let mut state = state.lock().unwrap();
                    (!state.data_answers.is_empty()).then(|| state.data_answers.remove(0))
                };
                if let Some(answer) = refusal {
                    answer
                } else {
                    stream.write_all(b"354 start mail input\r\n").await?;
                    let raw = read_data(&mut stream).await?;
                    state.lock().unwrap().messages.push(Message {
                        to: std::mem::take(&mut to),
                        raw,
                    });
                    "250 accepted".to_owned()
                }
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 command not implemented".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn read_data(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 || line == b".\r\n" {
            return Ok(raw);
        }
        raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
