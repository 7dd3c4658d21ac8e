-- A store as each released version made it. A line that ends with "-- N" is there from version N on;
-- what was released is never changed. {key} is the primary key of rows that the database numbers,
-- {name} the type of a graph's name.
CREATE TABLE anabranch_schema (version INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE graphs (
  name {name} NOT NULL,
  state VARCHAR(16) NOT NULL,
  live INTEGER,
  created_at FLOAT NOT NULL,
  generation INTEGER DEFAULT '0' NOT NULL, -- 2
  weights TEXT DEFAULT '{}' NOT NULL, -- 2
  mirrors TEXT DEFAULT '{}' NOT NULL, -- 2
  rollout TEXT, -- 2
  PRIMARY KEY (name)
);
CREATE TABLE revisions (
  graph {name} NOT NULL REFERENCES graphs (name),
  number INTEGER NOT NULL,
  spec TEXT NOT NULL,
  digest VARCHAR(64) NOT NULL,
  author TEXT NOT NULL,
  message TEXT NOT NULL,
  created_at FLOAT NOT NULL,
  state VARCHAR(16) NOT NULL,
  reason TEXT NOT NULL,
  intent TEXT, -- 2
  expires_at FLOAT, -- 2
  live_at FLOAT, -- 2
  pins TEXT, -- 3
  PRIMARY KEY (graph, number)
);
CREATE INDEX revisions_by_state ON revisions (graph, state); -- 2
CREATE INDEX revisions_by_live_at ON revisions (graph, live_at); -- 2
CREATE TABLE events (
  id {key},
  at FLOAT NOT NULL,
  graph {name} NOT NULL,
  revision INTEGER,
  kind VARCHAR(32) NOT NULL,
  data TEXT, -- 2
  change TEXT, -- 6
  actor_kind VARCHAR(16) DEFAULT 'unrecorded' NOT NULL, -- 6
  actor TEXT DEFAULT '' NOT NULL, -- 6
  address TEXT DEFAULT '' NOT NULL, -- 6
  request_id TEXT DEFAULT '' NOT NULL, -- 6
  hash VARCHAR(64) DEFAULT '' NOT NULL, -- 6
  message TEXT NOT NULL
);
CREATE INDEX ix_events_graph ON events (graph);
CREATE TABLE outbox ( -- 2
  id {key}, -- 2
  event_id INTEGER NOT NULL REFERENCES events (id), -- 2
  url TEXT NOT NULL, -- 2
  due_at FLOAT NOT NULL, -- 2
  attempts INTEGER NOT NULL -- 2
); -- 2
CREATE INDEX ix_outbox_due_at ON outbox (due_at); -- 2
CREATE TABLE leases ( -- 2
  name VARCHAR(63) NOT NULL PRIMARY KEY, -- 2
  holder TEXT NOT NULL, -- 2
  beat BIGINT NOT NULL -- 2
); -- 2
CREATE TABLE feedback ( -- 4
  number {key}, -- 4
  graph {name} NOT NULL, -- 4
  key VARCHAR(32) NOT NULL, -- 4
  token VARCHAR(32) NOT NULL, -- 4
  reward FLOAT NOT NULL, -- 4
  at FLOAT NOT NULL -- 4
); -- 4
CREATE UNIQUE INDEX feedback_by_key ON feedback (graph, key); -- 4
CREATE INDEX feedback_by_at ON feedback (at); -- 4
CREATE TABLE bandits ( -- 4
  graph {name} NOT NULL, -- 4
  router VARCHAR(63) NOT NULL, -- 4
  key VARCHAR(64) NOT NULL, -- 4
  state TEXT NOT NULL, -- 4
  updated_at FLOAT NOT NULL, -- 4
  PRIMARY KEY (graph, router, key) -- 4
); -- 4
CREATE TABLE experiments ( -- 5
  graph {name} NOT NULL, -- 5
  revision INTEGER NOT NULL, -- 5
  router VARCHAR(63) NOT NULL, -- 5
  state TEXT NOT NULL, -- 5
  updated_at FLOAT NOT NULL, -- 5
  PRIMARY KEY (graph, revision, router) -- 5
); -- 5
CREATE TABLE event_chain ( -- 6
  id INTEGER NOT NULL PRIMARY KEY, -- 6
  anchor_id INTEGER NOT NULL, -- 6
  anchor VARCHAR(64) NOT NULL, -- 6
  last_id INTEGER NOT NULL, -- 6
  last VARCHAR(64) NOT NULL -- 6
); -- 6
CREATE TABLE signing_keys ( -- 6
  number {key}, -- 6
  id VARCHAR(16) NOT NULL, -- 6
  secret VARCHAR(64) NOT NULL, -- 6
  created_at FLOAT NOT NULL -- 6
); -- 6
CREATE TABLE api_keys ( -- 6
  id {key}, -- 6
  name VARCHAR(63) NOT NULL, -- 6
  digest VARCHAR(64) NOT NULL UNIQUE, -- 6
  grants TEXT NOT NULL, -- 6
  created_at FLOAT NOT NULL, -- 6
  expires_at FLOAT, -- 6
  author TEXT NOT NULL -- 6
); -- 6
CREATE INDEX ix_api_keys_name ON api_keys (name); -- 6
CREATE TABLE documents ( -- 6
  name VARCHAR(63) NOT NULL PRIMARY KEY, -- 6
  text TEXT NOT NULL, -- 6
  updated_at FLOAT NOT NULL -- 6
); -- 6
INSERT INTO anabranch_schema VALUES ({version});
INSERT INTO graphs (name, state, live, created_at) VALUES
  ('digits', 'present', 3, 10.0), ('iris', 'present', NULL, 11.0), ('gone', 'deleting', NULL, 12.0);
INSERT INTO revisions
  (graph, number, spec, digest, author, message, created_at, state, reason) VALUES
  ('digits', 1, 's1', 'd1', 'ada', 'm1', 13.0, 'retired', ''),
  ('digits', 2, 's2', 'd2', 'ada', 'm2', 14.0, 'failed', 'no file'),
  ('digits', 3, 's3', 'd3', 'ada', 'm3', 15.0, 'live', ''),
  ('digits', 4, 's4', 'd4', 'ada', 'm4', 16.0, 'deploying', ''),
  ('iris', 1, 's', 'd', '', '', 17.0, 'pending', '');
INSERT INTO events (at, graph, revision, kind, message) VALUES
  (20.0, 'digits', 1, 'promoted', ''), (21.0, 'digits', 3, 'promoted', ''),
  (22.0, 'digits', 2, 'deploy_failed', 'no file');
UPDATE graphs SET generation = 9, weights = '{"3": 100.0}' WHERE name = 'digits'; -- 2
UPDATE revisions SET live_at = 20.0 WHERE graph = 'digits' AND number = 1; -- 2
UPDATE revisions SET live_at = 21.0 WHERE graph = 'digits' AND number = 3; -- 2
INSERT INTO leases VALUES ('controller', 'somebody', 5); -- 2
INSERT INTO outbox (event_id, url, due_at, attempts) VALUES (2, 'http://a', 23.0, 1); -- 2
UPDATE revisions SET pins = '{"model": "models:/m/7"}' WHERE number = 3; -- 3
INSERT INTO feedback (graph, key, token, reward, at) VALUES ('digits', 'k', 't', 0.5, 24.0); -- 4
INSERT INTO bandits VALUES ('digits', 'pick', 'k', '{"a": 1}', 25.0); -- 4
INSERT INTO experiments VALUES ('digits', 3, 'pick', '{"a": 1}', 26.0); -- 5
UPDATE events SET hash = '88b85b69497b70d73db5ca9fa52da94592334ab3fac7ca202f3e42ef3b15deac' WHERE id = 1; -- 6
UPDATE events SET hash = 'c7d758fc2edcdc2106a33cce4c20e519c4f7d34b089b026f21480a991a6ef136' WHERE id = 2; -- 6
UPDATE events SET hash = 'f482a6fb761a9f9dd4344f921cbb177cc9b68abda405ae41b3d4fd9da286acda' WHERE id = 3; -- 6
INSERT INTO event_chain VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000', 3, 'f482a6fb761a9f9dd4344f921cbb177cc9b68abda405ae41b3d4fd9da286acda'); -- 6
INSERT INTO documents VALUES ('policy', 'rules: []', 27.0); -- 6
