-- The database of an agent of schema 1 (commit aa95619) with one container that runs and one that was stopped; its root is /srv/terra.
CREATE TABLE about (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "about" VALUES('schema','1');
INSERT INTO "about" VALUES('agent','98d6cd25');
CREATE TABLE addresses (
	uid VARCHAR NOT NULL, 
	interface VARCHAR NOT NULL, 
	addresses JSON NOT NULL, 
	PRIMARY KEY (uid, interface)
);
INSERT INTO "addresses" VALUES('ob071212dbccdafba9','eth0','["10.88.0.2/24"]');
INSERT INTO "addresses" VALUES('ob4013200770b554be','eth0','["10.88.0.3/24"]');
CREATE TABLE attachments (
	uid VARCHAR NOT NULL, 
	interface VARCHAR NOT NULL, 
	revision INTEGER NOT NULL, 
	conf JSON NOT NULL, 
	pid INTEGER NOT NULL, 
	started VARCHAR NOT NULL, 
	addresses JSON NOT NULL, 
	mac VARCHAR NOT NULL, 
	keeper VARCHAR NOT NULL, 
	PRIMARY KEY (uid, interface)
);
INSERT INTO "attachments" VALUES('ob071212dbccdafba9','eth0',2,'{"cniVersion": "1.0.0", "name": "ob1", "type": "bridge", "bridge": "ob1", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true, "runtimeConfig": {"mac": "62:25:3a:85:05:62"}, "ipam": {"type": "host-local", "dataDir": "/srv/terra/var/lib/terra/orbit/networks", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": []}, "args": {"cni": {"ips": ["10.88.0.2"]}}}',13792,'1239421','["10.88.0.2/24"]','62:25:3a:85:05:62','');
CREATE TABLE containers (
	uid VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	revision INTEGER NOT NULL, 
	restarts INTEGER NOT NULL, 
	problem VARCHAR NOT NULL, 
	macs JSON NOT NULL, 
	created FLOAT NOT NULL, 
	PRIMARY KEY (uid), 
	UNIQUE (id)
);
INSERT INTO "containers" VALUES('ob071212dbccdafba9','one','running',2,0,'','["62:25:3a:85:05:62"]',1.79565251776975607876e+09);
INSERT INTO "containers" VALUES('ob4013200770b554be','two','stopped',1,0,'','["da:d6:48:7e:94:3d"]',1.79565252897230935094e+09);
CREATE TABLE revisions (
	uid VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	document JSON NOT NULL, 
	image VARCHAR NOT NULL, 
	created FLOAT NOT NULL, 
	PRIMARY KEY (uid, number)
);
INSERT INTO "revisions" VALUES('ob071212dbccdafba9',1,'{"id": "one", "image": "tiny:1", "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}','sha256:d2386a47bc588678e57e9f67c94a14c2e4389d9694d003788634a67bb240a609',1.79565251776975607876e+09);
INSERT INTO "revisions" VALUES('ob071212dbccdafba9',2,'{"id": "one", "image": "tiny:2", "env": ["A=1"], "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}','sha256:0916830c94a8caef627352e8a8dc939480db7a3577a8f183126815b2812b19fd',1.79565251837744164469e+09);
INSERT INTO "revisions" VALUES('ob4013200770b554be',1,'{"id": "two", "image": "tiny:1", "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}','sha256:d2386a47bc588678e57e9f67c94a14c2e4389d9694d003788634a67bb240a609',1.79565252897230935094e+09);
