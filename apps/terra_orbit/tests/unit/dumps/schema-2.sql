-- The database of the last agent without Alembic (commit 8f1b6e1) with one container that runs and one that was stopped; its root is /srv/terra.
CREATE TABLE about (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "about" VALUES('schema','2');
INSERT INTO "about" VALUES('agent','cf8d4e97');
CREATE TABLE addresses (
	uid VARCHAR NOT NULL, 
	interface VARCHAR NOT NULL, 
	addresses JSON NOT NULL, 
	PRIMARY KEY (uid, interface)
);
INSERT INTO "addresses" VALUES('ob67a5730b860b82f4','eth0','["10.88.0.2/24"]');
INSERT INTO "addresses" VALUES('ob5e1f023223ef0d91','eth0','["10.88.0.3/24"]');
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
INSERT INTO "attachments" VALUES('ob67a5730b860b82f4','eth0',2,'{"cniVersion": "1.0.0", "name": "ob1", "type": "bridge", "bridge": "ob1", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true, "runtimeConfig": {"mac": "62:d9:eb:f6:6f:4a"}, "ipam": {"type": "host-local", "dataDir": "/srv/terra/var/lib/terra/orbit/networks", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": []}, "args": {"cni": {"ips": ["10.88.0.2"]}}}',15011,'1241183','["10.88.0.2/24"]','62:d9:eb:f6:6f:4a','');
CREATE TABLE containers (
	uid VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	revision INTEGER NOT NULL, 
	restarts INTEGER NOT NULL, 
	problem VARCHAR NOT NULL, 
	macs JSON NOT NULL, 
	created FLOAT NOT NULL, 
	move JSON, 
	PRIMARY KEY (uid), 
	UNIQUE (id)
);
INSERT INTO "containers" VALUES('ob67a5730b860b82f4','one','running',2,0,'','["62:d9:eb:f6:6f:4a"]',1.79565253543716382982e+09,NULL);
INSERT INTO "containers" VALUES('ob5e1f023223ef0d91','two','stopped',1,0,'','["9e:85:1c:54:37:5a"]',1.79565254668857765193e+09,NULL);
CREATE TABLE revisions (
	uid VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	document JSON NOT NULL, 
	image VARCHAR NOT NULL, 
	created FLOAT NOT NULL, 
	PRIMARY KEY (uid, number)
);
INSERT INTO "revisions" VALUES('ob67a5730b860b82f4',1,'{"id": "one", "image": "tiny:1", "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}','sha256:4fb5bc2ecd0b3d3b7c4a22eef74ba95171cd82cdefa0168e779b9d0d8b4478d8',1.79565253543716382982e+09);
INSERT INTO "revisions" VALUES('ob67a5730b860b82f4',2,'{"id": "one", "image": "tiny:2", "env": ["A=1"], "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}','sha256:8b095221c673f662836161285b5aba18f9ed559f8724b3ec1b5b7addaaf0b38b',1.79565253589663362506e+09);
INSERT INTO "revisions" VALUES('ob5e1f023223ef0d91',1,'{"id": "two", "image": "tiny:1", "networks": [{"type": "bridge", "name": "ob1", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}]}','sha256:4fb5bc2ecd0b3d3b7c4a22eef74ba95171cd82cdefa0168e779b9d0d8b4478d8',1.79565254668857765193e+09);
