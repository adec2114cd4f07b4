-- The frontier's tables.
--
-- A host of a run is a lane: a log of URLs in the order of `seq`. A process owns a lane while it works on it, and an outcome is a
-- row of its own; so nothing is updated per URL, and a claim reads a range of an index. Everything up to a lane's `head` has an
-- outcome; up to its `redo` some may have (the owner before died or left).
--
-- Every lane's owner is a member. Whatever takes a lane holds its member's row meanwhile, and who ends a membership frees in the same
-- transaction every lane whose owner is no member any more. All of it is done by single statements: a client that dies or stands still
-- leaves no transaction open.
--
-- Locks are taken in the order run, member, lanes by id; so nothing deadlocks.

-- name: null while the run is removed.
-- notes: what whoever began it has noted with it; the frontier does not look into it.
create table sluice.fetch_run (
  id int generated always as identity primary key,
  name text unique,
  notes jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  next_seq bigint not null default 1,
  added bigint not null default 0,
  done bigint not null default 0,
  failed bigint not null default 0,
  deferred bigint not null default 0
) with (fillfactor = 50);

-- A process at work on a run. Its row is the fence: no row, no lease. Its tallies move to the run when it leaves.
-- suspect_at: when another found that it is silent. formerly: the membership that it went on from after an outage.
-- taken: URLs that were leased to it; those that are not settled are leased still. since: the `seq` of the first URL that was added after
-- it came.
create table sluice.fetch_member (
  id int generated always as identity primary key,
  run_id int not null references sluice.fetch_run (id) on delete cascade,
  seen_at timestamptz not null default now(),
  suspect_at timestamptz,
  formerly int,
  sealed boolean not null default false,
  added bigint not null default 0,
  done bigint not null default 0,
  failed bigint not null default 0,
  deferred bigint not null default 0,
  taken bigint not null default 0,
  since bigint not null
) with (fillfactor = 10);

create index fetch_member_run on sluice.fetch_member (run_id);

create table sluice.fetch_lane (
  id bigint generated always as identity primary key,
  run_id int not null,
  host text not null,
  owner int,
  head bigint not null default 0,
  redo bigint not null default 0,
  tail bigint not null default 0,
  unique (run_id, host)
) with (fillfactor = 70);

create index fetch_lane_ready on sluice.fetch_lane (run_id, id) where owner is null and tail > head;

create index fetch_lane_owned on sluice.fetch_lane (run_id, owner) where owner is not null;

-- request: method, headers and body as JSON in this order, as far as there are any. source, line, id, input: the label of the request, by
-- which whoever asks knows it.
create table sluice.fetch_url (
  run_id int not null,
  line int,
  lane_id bigint not null,
  seq bigint not null,
  hash bytea not null,
  url text not null,
  request text,
  untrusted boolean not null,
  source text,
  id json,
  input json
);

create unique index fetch_url_identity on sluice.fetch_url (run_id, hash);

create index fetch_url_log on sluice.fetch_url (lane_id, seq);

create index fetch_url_untrusted on sluice.fetch_url (run_id, hash) where untrusted;

-- How an outcome ended: for good, or for now (until `due_at`).
create type sluice.fetch_state as enum ('done', 'failed', 'deferred');

-- The wide columns first: nothing is lost to alignment.
create table sluice.fetch_outcome (
  run_id int not null,
  attempts int not null,
  seq bigint not null,
  lane_id bigint not null,
  bytes bigint not null,
  duration_ms float8 not null,
  started_at timestamptz not null,
  due_at timestamptz,
  state sluice.fetch_state not null,
  status smallint,
  sha256 bytea,
  tag text,
  content_type text,
  final_url text,
  saved_to text,
  error json,
  primary key (run_id, seq)
);

create index fetch_outcome_failed on sluice.fetch_outcome (run_id, seq, tag) where state <> 'done';

create index fetch_outcome_due on sluice.fetch_outcome (run_id, due_at) where state = 'deferred';

create view sluice.fetch_outcomes as
select r.name as run, l.host,
  coalesce(substring(u.request from '^\{"method":"([A-Z]+)"'), 'GET') as method, u.url,
  u.source, u.line, u.id, u.input, o.final_url, o.state, o.status, o.tag, o.attempts, o.bytes, encode(o.sha256, 'hex') as sha256,
  o.content_type, o.started_at, o.duration_ms, o.due_at, o.saved_to, o.error
from sluice.fetch_outcome o
join sluice.fetch_run r on r.id = o.run_id and r.name is not null
join sluice.fetch_lane l on l.id = o.lane_id
join sluice.fetch_url u on u.lane_id = o.lane_id and u.seq = o.seq;

-- Runs with their counts: the run's own, and those of the members that are still at work on it.
create view sluice.fetch_runs as
select r.id, r.name, r.created_at, greatest(r.updated_at, m.seen_at) as updated_at,
  (r.added + m.added - r.done - r.failed - m.taken + m.deferred)::bigint as pending,
  (m.taken - m.done - m.failed - m.deferred)::bigint as leased,
  (r.done + m.done)::bigint as done, (r.failed + m.failed)::bigint as failed, (r.deferred + m.deferred)::bigint as deferred
from sluice.fetch_run r cross join lateral (
  select coalesce(sum(added), 0) as added, coalesce(sum(done), 0) as done, coalesce(sum(failed), 0) as failed,
    coalesce(sum(deferred), 0) as deferred, coalesce(sum(taken), 0) as taken, max(seen_at) as seen_at
  from sluice.fetch_member where run_id = r.id
) m
where r.name is not null;

-- What is known of hosts, over all runs: politeness outlives a process, and belongs to the host.
--
-- Rows are written in the order of `host`, by one insert a transaction, after the run's own locks; so nothing deadlocks.
-- state: a HostState; null when nothing is known any more, until the row is swept.
create table sluice.fetch_host (
  host text primary key,
  state json,
  shut_until timestamptz not null,
  stale_at timestamptz not null
) with (fillfactor = 50);

create index fetch_host_stale on sluice.fetch_host (stale_at);

-- The idempotency keys of requests that begin runs. A key is kept for ever; until there is an answer it is claimed by one try at a time.
-- answer: a RunSummary as it was first told.
create table sluice.fetch_key (
  key text collate "C" primary key,
  fingerprint text not null,
  run text not null,
  token uuid not null,
  claimed_until timestamptz not null,
  answer json
);
