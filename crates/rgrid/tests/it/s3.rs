//! A server grid whose objects lie on an S3 server: files travel past the API when others reach it, else through it.

use rgrid_store::objects::ObjectsConfig;

use crate::s3_server::S3Server;
use crate::server_grid::ServerGrid;

/// More than one part of an upload.
const BIG_BYTES: usize = (16 << 20) + 12_345;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_and_outputs_travel_over_an_s3_server() {
    let server = S3Server::start().await;
    let ObjectsConfig::S3(config) = server.config(None) else { panic!("S3") };
    for public in [None, Some(("MINIO_PUBLIC_ENDPOINT", config.endpoint.clone()))] {
        let mut objects = vec![
            ("MINIO_ENDPOINT", config.endpoint.trim_start_matches("http://").to_owned()),
            ("MINIO_ACCESS_KEY", format!("{}  # as systemd hands it over", config.access_key)),
            ("MINIO_SECRET_KEY", config.secret_key.clone()),
            ("MINIO_BUCKET_NAME", config.bucket.clone()),
        ];
        let way = if public.is_some() { "past the API" } else { "through the API" };
        objects.extend(public);
        let before = server.objects().len();
        let grid = ServerGrid::on(objects).await;
        let port = ServerGrid::free_port();
        let _api = grid.api(port);
        let (ready, said) = grid.page(port, "/ready");
        assert_eq!(ready, 200, "{way}: {said}");
        let _runner = grid.runner(port, 1);
        let big: Vec<u8> = (0..BIG_BYTES).map(|at| (at / 1000) as u8).collect();
        std::fs::write(grid.work().join("big.bin"), &big).unwrap();
        grid.script(
            "turn.py",
            "import sys\nbig = open(sys.argv[1], 'rb').read()\nopen('turned.bin', 'wb').write(big[::-1])\nprint(len(big))\n",
        );
        assert_eq!(grid.success(port, &["run", "turn.py", "big.bin"]), format!("{BIG_BYTES}\n"), "{way}");
        let turned = std::fs::read(grid.work().join("turned.bin")).unwrap();
        assert!(turned.iter().rev().eq(&big), "{way}: the output is not what the script wrote");
        assert_eq!(server.objects().len() - before, 3, "{way}: script, input and output lie in the bucket");
        assert_eq!(server.open_parts(), 0, "{way}");
    }
}
