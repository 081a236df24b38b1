CREATE TYPE public.river_job_state AS ENUM (
    'available',
    'cancelled',
    'completed',
    'discarded',
    'pending',
    'retryable',
    'running',
    'scheduled'
);
CREATE FUNCTION public.river_job_state_in_bitmask(bitmask bit, state public.river_job_state) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE state
        WHEN 'available' THEN get_bit(bitmask, 7)
        WHEN 'cancelled' THEN get_bit(bitmask, 6)
        WHEN 'completed' THEN get_bit(bitmask, 5)
        WHEN 'discarded' THEN get_bit(bitmask, 4)
        WHEN 'pending'   THEN get_bit(bitmask, 3)
        WHEN 'retryable' THEN get_bit(bitmask, 2)
        WHEN 'running'   THEN get_bit(bitmask, 1)
        WHEN 'scheduled' THEN get_bit(bitmask, 0)
        ELSE 0
    END = 1;
$$;
CREATE TABLE public.claims (
    registry text NOT NULL,
    repository text NOT NULL,
    digest text NOT NULL,
    token text NOT NULL,
    owner text NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.doubts (
    registry text NOT NULL,
    terms text NOT NULL,
    doubted_at bigint NOT NULL
);
CREATE TABLE public.executions (
    id bigint NOT NULL,
    policy text NOT NULL,
    policy_version text NOT NULL,
    registry text NOT NULL,
    trigger_type text NOT NULL,
    tick bigint NOT NULL,
    lane text NOT NULL,
    status text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    walked bigint DEFAULT 0 NOT NULL,
    tasks bigint DEFAULT 0 NOT NULL,
    counts text DEFAULT ''::text NOT NULL,
    created_at bigint NOT NULL,
    started_at bigint DEFAULT 0 NOT NULL,
    finished_at bigint DEFAULT 0 NOT NULL
);
ALTER TABLE public.executions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.executions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.memories (
    registry text NOT NULL,
    repository text NOT NULL,
    digest text NOT NULL,
    terms text NOT NULL,
    verified_at bigint NOT NULL,
    parts text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.pings (
    id bigint NOT NULL,
    pinged_at bigint NOT NULL
);
CREATE TABLE public.policies (
    name text NOT NULL,
    last_tick bigint DEFAULT 0 NOT NULL,
    schedule text DEFAULT ''::text NOT NULL,
    last_execution bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.pushes (
    id bigint NOT NULL,
    task_id bigint NOT NULL,
    tag text NOT NULL,
    digest text NOT NULL,
    pushed_at bigint NOT NULL,
    received_at bigint NOT NULL,
    due_at bigint NOT NULL,
    attempts bigint DEFAULT 0 NOT NULL,
    seq bigint DEFAULT 0 NOT NULL
);
ALTER TABLE public.pushes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.pushes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.records (
    id bigint NOT NULL,
    execution_id bigint NOT NULL,
    policy text NOT NULL,
    policy_version text NOT NULL,
    trigger_type text NOT NULL,
    registry text NOT NULL,
    repository text NOT NULL,
    digest text NOT NULL,
    tags text NOT NULL,
    identity text NOT NULL,
    format text NOT NULL,
    key_name text NOT NULL,
    key_fingerprint text NOT NULL,
    algorithm text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    signature text NOT NULL,
    stored_as text NOT NULL,
    tag_moved bigint NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint NOT NULL,
    key_version text DEFAULT ''::text NOT NULL
);
ALTER TABLE public.records ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.records_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.river_job (
    id bigint NOT NULL,
    state public.river_job_state DEFAULT 'available'::public.river_job_state NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    max_attempts smallint DEFAULT 25 NOT NULL,
    attempted_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finalized_at timestamp with time zone,
    scheduled_at timestamp with time zone DEFAULT now() NOT NULL,
    priority smallint DEFAULT 1 NOT NULL,
    args jsonb NOT NULL,
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    queue text DEFAULT 'default'::text NOT NULL,
    tags character varying(255)[] DEFAULT '{}'::character varying[] NOT NULL,
    unique_key bytea,
    unique_states bit(8),
    CONSTRAINT finalized_or_finalized_at_null CHECK ((((finalized_at IS NULL) AND (state <> ALL (ARRAY['cancelled'::public.river_job_state, 'completed'::public.river_job_state, 'discarded'::public.river_job_state]))) OR ((finalized_at IS NOT NULL) AND (state = ANY (ARRAY['cancelled'::public.river_job_state, 'completed'::public.river_job_state, 'discarded'::public.river_job_state]))))),
    CONSTRAINT kind_length CHECK (((char_length(kind) > 0) AND (char_length(kind) < 128))),
    CONSTRAINT max_attempts_is_positive CHECK ((max_attempts > 0)),
    CONSTRAINT priority_in_range CHECK (((priority >= 1) AND (priority <= 4))),
    CONSTRAINT queue_length CHECK (((char_length(queue) > 0) AND (char_length(queue) < 128)))
);
CREATE SEQUENCE public.river_job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.river_job_id_seq OWNED BY public.river_job.id;
CREATE UNLOGGED TABLE public.river_leader (
    elected_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    leader_id text NOT NULL,
    name text DEFAULT 'default'::text NOT NULL,
    CONSTRAINT leader_id_length CHECK (((char_length(leader_id) > 0) AND (char_length(leader_id) < 128))),
    CONSTRAINT name_length CHECK ((name = 'default'::text))
);
CREATE TABLE public.river_migration (
    line text NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT line_length CHECK (((char_length(line) > 0) AND (char_length(line) < 128))),
    CONSTRAINT version_gte_1 CHECK ((version >= 1))
);
CREATE TABLE public.river_notification (
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT topic_length CHECK (((length(topic) > 0) AND (length(topic) < 128)))
);
CREATE SEQUENCE public.river_notification_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.river_notification_id_seq OWNED BY public.river_notification.id;
CREATE TABLE public.river_queue (
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    paused_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE TABLE public.sealwright_schema (
    id integer NOT NULL,
    version_id bigint NOT NULL,
    is_applied boolean NOT NULL,
    tstamp timestamp without time zone DEFAULT now() NOT NULL
);
ALTER TABLE public.sealwright_schema ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.sealwright_schema_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.subtasks (
    id bigint NOT NULL,
    execution_id bigint NOT NULL,
    task_id bigint NOT NULL,
    repository text NOT NULL,
    digest text NOT NULL,
    tag_key text NOT NULL,
    media_type text NOT NULL,
    tags text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    tag_moved bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
);
ALTER TABLE public.subtasks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.subtasks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.tasks (
    id bigint NOT NULL,
    execution_id bigint NOT NULL,
    repository text NOT NULL,
    status text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    cursor text DEFAULT ''::text NOT NULL,
    stalls bigint DEFAULT 0 NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    round bigint DEFAULT 0 NOT NULL,
    wake_at bigint DEFAULT 0 NOT NULL
);
ALTER TABLE public.tasks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.tasks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
ALTER TABLE ONLY public.river_job ALTER COLUMN id SET DEFAULT nextval('public.river_job_id_seq'::regclass);
ALTER TABLE ONLY public.river_notification ALTER COLUMN id SET DEFAULT nextval('public.river_notification_id_seq'::regclass);
INSERT INTO public.claims VALUES ('prod', 'library/app', 'sha256:5', 'NSTPWHDMQY6IRZU75WGSH22JGQ', 'old:1:OLD', 1780311622000000);
INSERT INTO public.claims VALUES ('prod', 'library/app', 'sha256:6', 'FBYPOSERCRF6L6UNS45UTAUHL6', 'old:1:OLD', 4933908023000000);
INSERT INTO public.doubts VALUES ('prod', 't2', 1780308030000000);
INSERT INTO public.executions OVERRIDING SYSTEM VALUE VALUES (1, 'nightly', 'v1', 'prod', 'scheduled', 1780308000000000, 'backlog', 'Failed', 'artifacts_failed', '1 artifacts failed', 1, 2, '{"total":4,"succeed":3,"failed":1,"stopped":0,"in_progress":0,"reasons":{"already_signed":1,"key_refused":1,"signed":2}}', 1780308002000000, 1780308003000000, 1780308016000000);
INSERT INTO public.executions OVERRIDING SYSTEM VALUE VALUES (2, 'byhand', 'v2', 'prod', 'manual', 0, 'live', 'InProgress', '', '', 1, 0, '', 1780308017000000, 1780308018000000, 0);
INSERT INTO public.executions OVERRIDING SYSTEM VALUE VALUES (3, 'byhand', 'v2', 'prod', 'manual', 0, 'live', 'Initialized', '', '', 0, 0, '', 1780308024000000, 0, 0);
INSERT INTO public.executions OVERRIDING SYSTEM VALUE VALUES (4, 'pushed', 'v3', 'prod', 'event_based', 0, 'pushes', 'InProgress', '', '', 1, 0, '', 1780308025000000, 1780308025000000, 0);
INSERT INTO public.memories VALUES ('prod', 'library/app', 'sha256:1', 't1', 1780308029000000, '');
INSERT INTO public.pings VALUES (1, 1780308031000000);
INSERT INTO public.policies VALUES ('nightly', 1780308000000000, '0 0 10 * * *', 1);
INSERT INTO public.policies VALUES ('byhand', 0, '', 0);
INSERT INTO public.policies VALUES ('pushed', 0, '', 0);
INSERT INTO public.pushes OVERRIDING SYSTEM VALUE VALUES (1, 4, 'v2', 'sha256:7', 1780308024000000, 1780308026000000, 1780308026000000, 0, 0);
INSERT INTO public.pushes OVERRIDING SYSTEM VALUE VALUES (2, 5, 'v3', '', 1780308024000000, 1780308028000000, 1780308028000000, 0, 0);
INSERT INTO public.records OVERRIDING SYSTEM VALUE VALUES (1, 1, 'nightly', 'v1', 'scheduled', 'prod', 'library/app', 'sha256:1', '["v1 \u003c\u0026\u003e"]', 'registry.example.com/library/app', 'cosign', 'release', 'ff', 'ECDSA_SHA_256', 'signed', 'signed', 'c2ln', 'sha256:stored', 0, 1780308007000000, 1780308008000000, '2');
INSERT INTO public.records OVERRIDING SYSTEM VALUE VALUES (2, 1, 'nightly', 'v1', 'scheduled', 'prod', 'library/app', 'sha256:2', '["v1 \u003c\u0026\u003e"]', 'registry.example.com/library/app', 'cosign', 'release', 'ff', 'ECDSA_SHA_256', 'signed', 'signed', 'c2ln', 'sha256:stored', 0, 1780308009000000, 1780308010000000, '2');
INSERT INTO public.records OVERRIDING SYSTEM VALUE VALUES (3, 1, 'nightly', 'v1', 'scheduled', 'prod', 'library/app', 'sha256:2', '["v1 \u003c\u0026\u003e"]', 'registry.example.com/library/app', 'bundle', 'release', 'ff', 'ECDSA_SHA_256', 'signed', 'signed', 'c2ln', 'sha256:stored', 0, 1780308009000000, 1780308010000000, '2');
INSERT INTO public.records OVERRIDING SYSTEM VALUE VALUES (4, 1, 'nightly', 'v1', 'scheduled', 'prod', 'library/app', 'sha256:3', '["v1 \u003c\u0026\u003e"]', 'registry.example.com/library/app', 'cosign', 'release', 'ff', 'ECDSA_SHA_256', 'failed', 'key_refused', 'c2ln', 'sha256:stored', 0, 1780308011000000, 1780308012000000, '2');
INSERT INTO public.records OVERRIDING SYSTEM VALUE VALUES (5, 2, 'nightly', 'v1', 'scheduled', 'prod', 'library/app', 'sha256:5', '["v1 \u003c\u0026\u003e"]', 'registry.example.com/library/app', 'cosign', 'release', 'ff', 'ECDSA_SHA_256', 'signing', '', '', '', 0, 1780308022000000, 0, '2');
INSERT INTO public.records OVERRIDING SYSTEM VALUE VALUES (6, 2, 'nightly', 'v1', 'scheduled', 'prod', 'library/app', 'sha256:6', '["v1 \u003c\u0026\u003e"]', 'registry.example.com/library/app', 'cosign', 'release', 'ff', 'ECDSA_SHA_256', 'signing', '', '', '', 0, 1780308023000000, 0, '2');
INSERT INTO public.river_job VALUES (1, 'available', 0, 25, NULL, '2025-06-01 10:00:00+00', NULL, '2025-06-01 10:00:00+00', 1, '{"execution_id": 1}', NULL, NULL, 'sealwright_walk', '{}', 'backlog', '{}', '\x26dff7c23e4f4a30eaafd9796285a26a0e0b7f9b3ad1a735dfefbd9d24ccb1b2', B'11110001');
INSERT INTO public.river_job VALUES (2, 'available', 0, 25, NULL, '2025-06-01 10:00:00+00', NULL, '2025-06-01 10:00:00+00', 2, '{"task_id": 1}', NULL, NULL, 'sealwright_task', '{}', 'backlog', '{}', '\x9d8c8ca2a9da98859f0e5905971ddb874457ffc48b81f9a05bb577cfe04f9274', B'11110001');
INSERT INTO public.river_job VALUES (3, 'available', 0, 25, NULL, '2025-06-01 10:00:00+00', NULL, '2025-06-01 10:00:00+00', 2, '{"task_id": 2}', NULL, NULL, 'sealwright_task', '{}', 'backlog', '{}', '\x1ec8e9cd76f7398937d6eeea492e47b1a408b2c5a8c3d9b07936fee9c7fc7925', B'11110001');
INSERT INTO public.river_job VALUES (4, 'available', 0, 25, NULL, '2025-06-01 10:00:00+00', NULL, '2025-06-01 10:00:00+00', 1, '{"execution_id": 2}', NULL, NULL, 'sealwright_walk', '{}', 'live', '{}', '\x8e84041a9ae1ac5fc5c6f8d24862c9b495346909e91c426837cf61b095d07b25', B'11110001');
INSERT INTO public.river_job VALUES (5, 'available', 0, 25, NULL, '2025-06-01 10:00:00+00', NULL, '2025-06-01 10:00:00+00', 2, '{"task_id": 3}', NULL, NULL, 'sealwright_task', '{}', 'live', '{}', '\xfa04c951e967c76b37cc655876d2cc94c8efc5bf49327b7ee3009c221e5b30d2', B'11110001');
INSERT INTO public.river_job VALUES (6, 'available', 0, 25, NULL, '2025-06-01 10:00:00+00', NULL, '2025-06-01 10:00:00+00', 2, '{"task_id": 4}', NULL, NULL, 'sealwright_task', '{}', 'pushes', '{}', '\xd9beffa3ae194724234e12f749548dbec0d6205f28dd9baf29405736cba09292', B'11110001');
INSERT INTO public.river_job VALUES (7, 'available', 0, 25, NULL, '2025-06-01 10:00:00+00', NULL, '2025-06-01 10:00:00+00', 2, '{"task_id": 5}', NULL, NULL, 'sealwright_task', '{}', 'pushes', '{}', '\xfe3216d365041cb20c2189cbf43bdac08f60ded246c5a5825fca57fe8324b78f', B'11110001');
INSERT INTO public.river_migration VALUES ('main', 1, '2025-06-01 10:00:00+00');
INSERT INTO public.river_migration VALUES ('main', 2, '2025-06-01 10:00:00+00');
INSERT INTO public.river_migration VALUES ('main', 3, '2025-06-01 10:00:00+00');
INSERT INTO public.river_migration VALUES ('main', 4, '2025-06-01 10:00:00+00');
INSERT INTO public.river_migration VALUES ('main', 5, '2025-06-01 10:00:00+00');
INSERT INTO public.river_migration VALUES ('main', 6, '2025-06-01 10:00:00+00');
INSERT INTO public.river_migration VALUES ('main', 7, '2025-06-01 10:00:00+00');
INSERT INTO public.sealwright_schema VALUES (1, 0, true, '2025-06-01 10:00:00');
INSERT INTO public.sealwright_schema VALUES (2, 1, true, '2025-06-01 10:00:00');
INSERT INTO public.sealwright_schema VALUES (3, 2, true, '2025-06-01 10:00:00');
INSERT INTO public.sealwright_schema VALUES (4, 3, true, '2025-06-01 10:00:00');
INSERT INTO public.subtasks OVERRIDING SYSTEM VALUE VALUES (1, 1, 1, 'library/app', 'sha256:1', '', '', '["v1 \u003c\u0026\u003e"]', 'Succeed', 'signed', '', 0, 1780308007000000, 1780308008000000);
INSERT INTO public.subtasks OVERRIDING SYSTEM VALUE VALUES (2, 1, 1, 'library/app', 'sha256:2', '', '', '["v1 \u003c\u0026\u003e"]', 'Succeed', 'signed', '', 0, 1780308009000000, 1780308010000000);
INSERT INTO public.subtasks OVERRIDING SYSTEM VALUE VALUES (3, 1, 1, 'library/app', 'sha256:3', '', '', '["v1 \u003c\u0026\u003e"]', 'Failed', 'key_refused', '', 0, 1780308011000000, 1780308012000000);
INSERT INTO public.subtasks OVERRIDING SYSTEM VALUE VALUES (4, 1, 2, 'library/web', 'sha256:4', '', '', '[]', 'Succeed', 'already_signed', '', 0, 1780308014000000, 1780308014000000);
INSERT INTO public.subtasks OVERRIDING SYSTEM VALUE VALUES (5, 2, 3, 'library/app', 'sha256:5', '', '', '["v1 \u003c\u0026\u003e"]', 'InProgress', '', '', 0, 1780308022000000, 1780308022000000);
INSERT INTO public.subtasks OVERRIDING SYSTEM VALUE VALUES (6, 2, 3, 'library/app', 'sha256:6', '', '', '["v1 \u003c\u0026\u003e"]', 'InProgress', '', '', 0, 1780308023000000, 1780308023000000);
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (1, 1, 'library/app', 'Failed', 'artifacts_failed', '', '', 0, 1780308004000000, 1780308013000000, 0, 0);
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (2, 1, 'library/web', 'Succeed', '', '', '', 0, 1780308004000000, 1780308015000000, 0, 0);
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (3, 2, 'library/app', 'InProgress', '', '', 'v0', 0, 1780308019000000, 1780308021000000, 0, 0);
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (4, 4, 'library/app', 'Pending', '', '', '', 0, 1780308027000000, 1780308027000000, 0, 0);
INSERT INTO public.tasks OVERRIDING SYSTEM VALUE VALUES (5, 4, 'library/web', 'Pending', '', '', '', 0, 1780308029000000, 1780308029000000, 0, 0);
SELECT pg_catalog.setval('public.executions_id_seq', 4, true);
SELECT pg_catalog.setval('public.pushes_id_seq', 2, true);
SELECT pg_catalog.setval('public.records_id_seq', 6, true);
SELECT pg_catalog.setval('public.river_job_id_seq', 7, true);
SELECT pg_catalog.setval('public.river_notification_id_seq', 1, false);
SELECT pg_catalog.setval('public.sealwright_schema_id_seq', 4, true);
SELECT pg_catalog.setval('public.subtasks_id_seq', 6, true);
SELECT pg_catalog.setval('public.tasks_id_seq', 5, true);
ALTER TABLE ONLY public.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (registry, repository, digest);
ALTER TABLE ONLY public.doubts
    ADD CONSTRAINT doubts_pkey PRIMARY KEY (registry, terms);
ALTER TABLE ONLY public.executions
    ADD CONSTRAINT executions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.memories
    ADD CONSTRAINT memories_pkey PRIMARY KEY (registry, repository, digest, terms);
ALTER TABLE ONLY public.pings
    ADD CONSTRAINT pings_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.policies
    ADD CONSTRAINT policies_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.pushes
    ADD CONSTRAINT pushes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.river_job
    ADD CONSTRAINT river_job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.river_leader
    ADD CONSTRAINT river_leader_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.river_migration
    ADD CONSTRAINT river_migration_pkey1 PRIMARY KEY (line, version);
ALTER TABLE ONLY public.river_notification
    ADD CONSTRAINT river_notification_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.river_queue
    ADD CONSTRAINT river_queue_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.sealwright_schema
    ADD CONSTRAINT sealwright_schema_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.subtasks
    ADD CONSTRAINT subtasks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX executions_one_active ON public.executions USING btree (policy) WHERE ((status = ANY (ARRAY['Pending'::text, 'InProgress'::text])) AND (trigger_type <> 'event_based'::text));
CREATE UNIQUE INDEX executions_one_waits ON public.executions USING btree (policy) WHERE (status = 'Initialized'::text);
CREATE INDEX executions_open ON public.executions USING btree (policy, status) WHERE (finished_at = 0);
CREATE INDEX executions_policy ON public.executions USING btree (policy, id);
CREATE UNIQUE INDEX executions_tick ON public.executions USING btree (policy, tick) WHERE (tick > 0);
CREATE INDEX memories_age ON public.memories USING btree (verified_at);
CREATE UNIQUE INDEX pushes_once ON public.pushes USING btree (task_id, tag);
CREATE INDEX records_digest ON public.records USING btree (digest, registry, repository, id);
CREATE INDEX records_interrupted ON public.records USING btree (registry, repository, digest, format, key_fingerprint, id) WHERE (reason = 'interrupted'::text);
CREATE INDEX records_policy ON public.records USING btree (policy, id);
CREATE INDEX records_repository ON public.records USING btree (registry, repository, id);
CREATE INDEX records_signing ON public.records USING btree (registry, repository, digest) WHERE (state = 'signing'::text);
CREATE INDEX river_job_args_index ON public.river_job USING gin (args);
CREATE INDEX river_job_kind ON public.river_job USING btree (kind);
CREATE INDEX river_job_metadata_index ON public.river_job USING gin (metadata);
CREATE INDEX river_job_prioritized_fetching_index ON public.river_job USING btree (state, queue, priority, scheduled_at, id);
CREATE INDEX river_job_state_and_finalized_at_index ON public.river_job USING btree (state, finalized_at) WHERE (finalized_at IS NOT NULL);
CREATE UNIQUE INDEX river_job_unique_idx ON public.river_job USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (unique_states IS NOT NULL) AND public.river_job_state_in_bitmask(unique_states, state));
CREATE INDEX river_notification_created_at_idx ON public.river_notification USING btree (created_at);
CREATE INDEX river_notification_topic_id_idx ON public.river_notification USING btree (topic, id);
CREATE UNIQUE INDEX subtasks_artifact ON public.subtasks USING btree (execution_id, repository, digest, tag_key);
CREATE INDEX subtasks_counts ON public.subtasks USING btree (execution_id, status, reason);
CREATE INDEX subtasks_failed ON public.subtasks USING btree (task_id) WHERE (status = 'Failed'::text);
CREATE INDEX subtasks_task ON public.subtasks USING btree (task_id, id);
CREATE INDEX tasks_open ON public.tasks USING btree (execution_id) WHERE (status = ANY (ARRAY['Initialized'::text, 'Pending'::text, 'InProgress'::text]));
CREATE INDEX tasks_page ON public.tasks USING btree (execution_id, id);
CREATE UNIQUE INDEX tasks_repository ON public.tasks USING btree (execution_id, repository);
ALTER TABLE ONLY public.pushes
    ADD CONSTRAINT pushes_task_id_fkey FOREIGN KEY (task_id) REFERENCES public.tasks(id);
ALTER TABLE ONLY public.subtasks
    ADD CONSTRAINT subtasks_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES public.executions(id);
ALTER TABLE ONLY public.subtasks
    ADD CONSTRAINT subtasks_task_id_fkey FOREIGN KEY (task_id) REFERENCES public.tasks(id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES public.executions(id);
