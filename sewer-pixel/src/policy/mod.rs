//! What is answered and what is recorded, as the operator wants it.
//!
//! It is plain functions of a request's head and body, made once from the configuration:
//! - [`Policy::judge`] from the head alone: the answer, and whether there is an event
//!   ([`routes`], [`cors`], [`privacy`], [`visitor`]; [`answer`] is what the answers are)
//! - [`Recording::with_event`] makes the event and takes from it what is not to be recorded
//!   ([`event`], [`fields`], [`drop_rules`], [`privacy`], [`address`])
//! - [`body`] what of a body is recorded
//! - [`current`] lets it be replaced while requests are answered

pub mod address;
pub mod answer;
pub mod body;
pub mod cors;
pub mod current;
pub mod drop_rules;
pub mod event;
pub mod fields;
pub mod privacy;
pub mod routes;
pub mod visitor;

use ipnet::IpNet;
use sewer_ops::access::private_networks;
use sewer_wal::Event;
use sewer_wal::event::BODY;
use uuid::{NoContext, Timestamp, Uuid};

use self::answer::{Answer, Content, Unrecorded};
use self::body::RecordedBody;
use self::cors::Cors;
use self::drop_rules::DropRules;
use self::event::event;
use self::fields::Fields;
use self::privacy::Privacy;
use self::routes::{Route, Routes};
use self::visitor::{Visitor, VisitorCookie};
use crate::config::{Ack, BodyRule, Config, Honour, OnFull};
use crate::request::forwarded::{Forwarded, Rules};
use crate::request::head::{Head, Headers, Origin};
use crate::request::peer::Peer;

/// The rules of a configuration, ready to use.
#[derive(Debug)]
pub struct Policy {
    forwarded: Rules,
    /// The sources in PROXY headers whose forwarded headers are believed.
    proxied: Box<[IpNet]>,
    body_bytes_max: usize,
    on_full: OnFull,
    routes: Routes,
    cors: Option<Cors>,
    fields: Fields,
    drop_rules: DropRules,
    privacy: Privacy,
    cookie: Option<VisitorCookie>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It is answered at once and not recorded.
    Answer(Answer, Unrecorded),
    /// It is recorded, and answered when it has its ack.
    Record(Recording<'a>),
}

/// A request that is to be recorded.
#[derive(Debug)]
pub struct Recording<'a> {
    /// The policy that it is under.
    pub policy: &'a Policy,
    route: &'a Route,
    is_anonymous: bool,
    visitor: Option<Visitor<'a>>,
    /// The answer once it is.
    pub answer: Answer,
}

impl Policy {
    /// The rules of a configuration.
    ///
    /// # Errors
    /// One line that names the key and what it may be.
    pub fn new(config: &Config) -> Result<Self, String> {
        let (routes, fields) = (Routes::new(config)?, Fields::new(config)?);
        let names = fields.names(config, &routes)?;
        let proxies = config.pixel.trusted_proxies.clone();
        // The default is for peers. Whoever is behind a balancer is not one of its own.
        let is_default = proxies == private_networks();
        let sources = if is_default { Vec::new() } else { proxies.clone() };
        Ok(Self {
            forwarded: Rules {
                headers: config.pixel.forwarded_headers,
                client_ip: config.pixel.client_ip.clone(),
                proxies: proxies.into(),
            },
            proxied: sources.into(),
            body_bytes_max: usize::try_from(config.pixel.max_body_bytes.as_u64())
                .unwrap_or(usize::MAX),
            on_full: config.wal.on_full,
            drop_rules: DropRules::new(&config.event.drop, &names)?,
            cors: Cors::new(&config.cors)?,
            privacy: Privacy::new(&config.privacy)?,
            cookie: VisitorCookie::new(&config.cookie)?,
            routes,
            fields,
        })
    }

    /// The peers whose forwarded headers, and PROXY headers, are believed.
    pub fn trusted_proxies(&self) -> &[IpNet] {
        &self.forwarded.proxies
    }

    /// The size above which a body is refused.
    pub const fn body_bytes_max(&self) -> usize {
        self.body_bytes_max
    }

    /// What a request gets while the disk is full.
    pub const fn on_full(&self) -> OnFull {
        self.on_full
    }

    /// Whether the body of a request is looked at.
    pub fn keeps_body(&self, head: &Head<'_>) -> bool {
        let route = self.routes.find(head.path);
        route.body != BodyRule::Dropped && route.unrecorded.is_none()
    }

    /// What the head of a request asks for.
    pub fn judge<'a>(&'a self, head: &Head<'a>) -> Verdict<'a> {
        let route = self.routes.find(head.path);
        let mut answer = Answer { content: route.content, headers: Vec::new() };
        if let Some(cors) = &self.cors {
            if Cors::is_preflight(head) {
                answer.content = Content::Nothing;
                cors.answer_preflight(head, &mut answer.headers);
                return Verdict::Answer(answer, Unrecorded::Preflight);
            }
            cors.grant(head, &mut answer.headers);
        }
        if let Some(why) = route.unrecorded {
            return Verdict::Answer(answer, why);
        }
        let wish = self.privacy.wish(head.headers);
        if wish == Honour::Skip {
            return Verdict::Answer(answer, Unrecorded::Privacy);
        }
        let is_anonymous = wish == Honour::Anonymous;
        let cookie = self.cookie.as_ref().filter(|_| !is_anonymous);
        let visitor = cookie.map(|cookie| cookie.visitor(head, &mut answer));
        Verdict::Record(Recording { policy: self, route, is_anonymous, visitor, answer })
    }

    fn peer(&self, origin: &Origin) -> Peer {
        let proxies = if origin.is_proxied { &self.proxied } else { &self.forwarded.proxies };
        Peer::new(origin.peer, proxies)
    }

    fn forwarded<'a>(&self, peer: &Peer, headers: Headers<'a>) -> Forwarded<'a> {
        if peer.is_trusted() {
            Forwarded::from(headers, &self.forwarded)
        } else {
            Forwarded::default()
        }
    }
}

impl Recording<'_> {
    /// When the answer is sent.
    pub const fn ack(&self) -> Ack {
        self.route.ack
    }

    /// The body as it is recorded; `None` if it is not. `memory` is for a decoded one.
    ///
    /// # Errors
    /// If it is decoded and then over the limit of bodies.
    pub fn body<'a>(
        &self,
        head: &Head<'a>,
        body: &'a [u8],
        memory: &'a mut Vec<u8>,
    ) -> Result<Option<RecordedBody<'a>>, body::TooLarge> {
        let whole = || RecordedBody::new(body, head.headers);
        match self.route.body {
            BodyRule::Dropped => Ok(None),
            BodyRule::Raw => Ok(Some(whole())),
            BodyRule::Decoded => whole().decoded(self.policy.body_bytes_max, memory).map(Some),
        }
    }

    /// Makes the event and hands it on; `None` if a drop rule says that there is none.
    pub fn with_event<R>(
        &self,
        head: &Head<'_>,
        origin: &Origin,
        body: Option<&RecordedBody<'_>>,
        timestamp_ms: i64,
        submit: impl FnOnce(&Event<'_>) -> R,
    ) -> Option<R> {
        let Policy { fields, privacy, drop_rules, .. } = self.policy;
        let peer = self.policy.peer(origin);
        let forwarded = self.policy.forwarded(&peer, head.headers);
        let mut uuid = [0; uuid::fmt::Hyphenated::LENGTH];
        let mut event = event(head, &peer, &forwarded, timestamp_ms);
        let extra = &mut event.extra;
        if fields.method {
            extra.push((fields::METHOD, head.method));
        }
        if fields.scheme {
            let own: &[u8] = if origin.is_tls { b"https" } else { b"http" };
            extra.push((fields::SCHEME, forwarded.proto.unwrap_or(own)));
        }
        fields.push_headers(head, extra);
        if let Some(body) = body {
            extra.push((BODY, body.bytes));
            if let Some(encoding) = &body.encoding {
                extra.push((fields::CONTENT_ENCODING, encoding));
            }
        }
        if let Some(visitor) = &self.visitor {
            extra.push((fields::VISITOR, visitor.as_bytes()));
        }
        for (name, value) in &self.route.fields {
            extra.push((name, value.as_bytes()));
        }
        if fields.uuid {
            extra.push((fields::UUID, uuid_of(timestamp_ms, &mut uuid)));
        }
        if drop_rules.matches(&event) {
            return None;
        }
        let (mut address, mut cookies) = (String::new(), Vec::new());
        if self.is_anonymous {
            (event.ip, event.cookies, event.referer) = (None, None, None);
            event.extra.retain(|(name, _)| !fields.is_header(name));
        } else {
            let text = &mut address;
            event.ip = event.ip.and_then(|ip| privacy.address.apply(ip, timestamp_ms, text));
            event.cookies = event.cookies.and_then(|all| privacy.cookies(all, &mut cookies));
        }
        Some(submit(&event))
    }
}

/// A UUID of version 7: the event's time, and chance.
fn uuid_of(timestamp_ms: i64, text: &mut [u8; uuid::fmt::Hyphenated::LENGTH]) -> &[u8] {
    let ms = timestamp_ms.unsigned_abs();
    let nanos = u32::try_from(ms % 1000 * 1_000_000).expect("below a second");
    let uuid = Uuid::new_v7(Timestamp::from_unix(NoContext, ms / 1000, nanos));
    uuid.hyphenated().encode_lower(text).as_bytes()
}

#[cfg(test)]
mod tests;
