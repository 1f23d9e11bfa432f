-- What schema-1.sql holds, as the same agent has it in PostgreSQL, by pg_dump --inserts.
CREATE TABLE public.about (
    key character varying NOT NULL,
    value character varying NOT NULL
);
CREATE TABLE public.addresses (
    uid character varying NOT NULL,
    interface character varying NOT NULL,
    addresses json NOT NULL
);
COMMENT ON TABLE public.addresses IS 'what each connection had last, to be asked for again';
CREATE TABLE public.attachments (
    uid character varying NOT NULL,
    interface character varying NOT NULL,
    revision integer NOT NULL,
    conf json NOT NULL,
    pid integer NOT NULL,
    started character varying NOT NULL,
    addresses json NOT NULL,
    mac character varying NOT NULL,
    keeper character varying NOT NULL
);
COMMENT ON TABLE public.attachments IS 'written before a plugin is called, so that no connection is forgotten';
CREATE TABLE public.containers (
    uid character varying NOT NULL,
    id character varying NOT NULL,
    state character varying NOT NULL,
    revision integer NOT NULL,
    restarts integer NOT NULL,
    problem character varying NOT NULL,
    macs json NOT NULL,
    created double precision NOT NULL
);
CREATE TABLE public.revisions (
    uid character varying NOT NULL,
    number integer NOT NULL,
    document json NOT NULL,
    image character varying NOT NULL,
    created double precision NOT NULL
);
INSERT INTO public.about VALUES ('schema', '1');
INSERT INTO public.about VALUES ('agent', '98d6cd25');
INSERT INTO public.addresses VALUES ('ob071212dbccdafba9', 'eth0', '["10.88.0.2/24"]');
INSERT INTO public.addresses VALUES ('ob4013200770b554be', 'eth0', '["10.88.0.3/24"]');
INSERT INTO public.attachments VALUES ('ob071212dbccdafba9', 'eth0', 2, '{"cniVersion": "1.0.0", "name": "ob1", "type": "bridge", "bridge": "ob1", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true, "runtimeConfig": {"mac": "62:25:3a:85:05:62"}, "ipam": {"type": "host-local", "dataDir": "/srv/terra/var/lib/terra/orbit/networks", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": []}, "args": {"cni": {"ips": ["10.88.0.2"]}}}', 13792, '1239421', '["10.88.0.2/24"]', '62:25:3a:85:05:62', '');
INSERT INTO public.containers VALUES ('ob071212dbccdafba9', 'one', 'running', 2, 0, '', '["62:25:3a:85:05:62"]', 1795652517.769756);
INSERT INTO public.containers VALUES ('ob4013200770b554be', 'two', 'stopped', 1, 0, '', '["da:d6:48:7e:94:3d"]', 1795652528.9723094);
INSERT INTO public.revisions VALUES ('ob071212dbccdafba9', 1, '{"id": "one", "image": "tiny:1", "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}', 'sha256:d2386a47bc588678e57e9f67c94a14c2e4389d9694d003788634a67bb240a609', 1795652517.769756);
INSERT INTO public.revisions VALUES ('ob071212dbccdafba9', 2, '{"id": "one", "image": "tiny:2", "env": ["A=1"], "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}', 'sha256:0916830c94a8caef627352e8a8dc939480db7a3577a8f183126815b2812b19fd', 1795652518.3774416);
INSERT INTO public.revisions VALUES ('ob4013200770b554be', 1, '{"id": "two", "image": "tiny:1", "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}', 'sha256:d2386a47bc588678e57e9f67c94a14c2e4389d9694d003788634a67bb240a609', 1795652528.9723094);
ALTER TABLE ONLY public.about
    ADD CONSTRAINT about_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_pkey PRIMARY KEY (uid, interface);
ALTER TABLE ONLY public.attachments
    ADD CONSTRAINT attachments_pkey PRIMARY KEY (uid, interface);
ALTER TABLE ONLY public.containers
    ADD CONSTRAINT containers_id_key UNIQUE (id);
ALTER TABLE ONLY public.containers
    ADD CONSTRAINT containers_pkey PRIMARY KEY (uid);
ALTER TABLE ONLY public.revisions
    ADD CONSTRAINT revisions_pkey PRIMARY KEY (uid, number);
