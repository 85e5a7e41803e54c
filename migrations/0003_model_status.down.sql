alter table workers drop column models;
