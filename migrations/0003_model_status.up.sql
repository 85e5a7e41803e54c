alter table workers add column models jsonb not null default '{}';
comment on column workers.models is 'Of each lane whose model it serves: whether the files are there, how far a download is, why it failed, whether the loaded model has a safety checker. Lanes that are absent have their files.';
