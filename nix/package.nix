# The file, made of nixpkgs' Python and its wheels: no network, and no interpreter to be found at run time.
#
# Of nixpkgs it uses python3 with the packages below (each with its wheel in the output `dist`), and runCommand.
pkgs:
let
  python = pkgs.python3;
  dependencies = with python.pkgs; [
    blake3
    boto3
    botocore
    jmespath
    pycryptodome
    python-dateutil
    s3transfer
    six
    tomlkit
    urllib3
    zstandard
  ];
  line = builtins.head (builtins.match ".*VERSION = \"([^\"]+)\".*" (builtins.readFile ../kachelib/__init__.py));
in
pkgs.runCommand "kache-${line}"
  {
    nativeBuildInputs = [ python ];
    wheels = map (each: each.dist) dependencies;
    # Native modules lie compressed in the file, where nothing sees the store paths that they refer to.
    references = [ python ] ++ dependencies;
    meta = {
      description = "a compile cache for Rust that ships as one file";
      mainProgram = "kache";
    };
  }
  ''
    mkdir source source/wheels
    cp ${../build_zipapp.py} source/build_zipapp.py
    cp ${../kache.py} source/kache.py
    cp -r ${../kachelib} source/kachelib
    cp -r ${../launcher} source/launcher
    cp -r ${../requirements} source/requirements
    chmod -R u+w source
    for each in $wheels; do
      cp $each/*.whl source/wheels/
    done
    mkdir -p $out/bin $out/nix-support
    ${python}/bin/python3 -B source/build_zipapp.py --only --python ${python}/bin/python3 \
      --wheels source/wheels --default-python ${python}/bin/python3 --output $out/bin/kache
    echo $references > $out/nix-support/references
  ''
