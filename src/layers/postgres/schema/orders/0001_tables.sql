-- Accounts, ledger, products and orders.

-- Half of each page stays free, so that a new balance finds room beside the old one (HOT) and no index grows.
create table sluice.accounts (
  id text collate "C" primary key,
  currency text not null,
  balance bigint not null default 0 check (balance between -9000000000000000000 and 9000000000000000000),
  held bigint not null default 0 check (held >= 0),
  allow_negative boolean not null,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  constraint accounts_funds check (allow_negative or balance - held >= 0)
) with (fillfactor = 50);

create table sluice.transfers (
  id uuid primary key,
  key text collate "C" not null unique,
  from_account text collate "C" not null,
  to_account text collate "C" not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  reference text,
  state text not null check (state in ('pending', 'posted', 'voided', 'expired')),
  expires_at timestamptz,
  created_at timestamptz not null default now(),
  resolved_at timestamptz
);

create index transfers_due on sluice.transfers (expires_at) where state = 'pending';

-- No foreign keys here, which would look at the account once more for each entry: write_books refuses to move what no account has.
create table sluice.ledger_entries (
  id bigint generated always as identity,
  account text collate "C" not null,
  source uuid not null,
  kind text collate "C" not null,
  amount bigint not null check (amount <> 0),
  at timestamptz not null default now(),
  primary key (account, id),
  constraint ledger_entries_once unique (source, account, kind)
);

create function sluice.ledger_is_append_only() returns trigger language plpgsql as $$
  begin raise exception 'the ledger is append-only: correct it with new entries'; end $$;

create trigger ledger_is_append_only before update or delete or truncate on sluice.ledger_entries
  for each statement execute function sluice.ledger_is_append_only();

create table sluice.products (
  sku text collate "C" primary key,
  name text not null,
  price bigint not null check (price > 0),
  currency text not null,
  seller text collate "C" not null references sluice.accounts,
  is_shipped boolean not null,
  on_hand integer not null check (on_hand >= 0),
  reserved integer not null default 0 check (reserved >= 0),
  sold bigint not null default 0 check (sold >= 0),
  -- What is reserved may come back at any time, and finds room.
  constraint products_room check (on_hand::bigint + reserved <= 2000000000)
) with (fillfactor = 50);

-- Room for an order's next state beside it: all orders of a page are settled in one transaction or in few, so nothing
-- can be pruned in between, and with less than half of the page free the last of them would move to another page and
-- add an entry to every index.
create table sluice.orders (
  id uuid primary key,
  key text collate "C" not null unique,
  customer_id text collate "C" not null,
  status text collate "C" not null,
  items jsonb not null,
  total bigint not null,
  currency text not null,
  payment text not null,
  note text,
  failure text,
  version integer not null default 1,
  accepted_at timestamptz not null default now(),
  charging_at timestamptz,
  paid_at timestamptz,
  ended_at timestamptz,
  cancelled boolean not null default false
) with (fillfactor = 45);

create index orders_of_customer on sluice.orders (customer_id, id);

-- Lists by status have no index on the status: it would change with every step of every order, and take the cheap kind
-- of update (HOT) from the whole table: a quarter of all orders per second, measured. What is rare and looked for has
-- indexes that the usual order never touches; the rest is found among the latest orders.
create index orders_failed on sluice.orders (id) where failure is not null;

create index orders_cancelled on sluice.orders (id) where cancelled;

create index orders_by_card on sluice.orders (id) where charging_at is not null;

-- Stock that comes and goes outside of orders: each adjustment once, by its key.
create table sluice.stock_adjustments (
  key text collate "C" primary key,
  sku text collate "C" not null references sluice.products,
  units integer not null check (units <> 0),
  on_hand integer not null,
  at timestamptz not null default now()
);
