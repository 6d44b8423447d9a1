-- Workers that can run container images as well. What needs one says so in its lane's class.
alter table workers add column docker boolean not null default false;
create index lanes_of_images on lanes (id) where sandbox = 'docker' and head_age is not null;
