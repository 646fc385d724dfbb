# A stand-in for nixpkgs: what kache's flake uses of it, as real derivations that the host's bash builds.
#
# It proves that the flake evaluates, builds, runs and gives the environment that it should, and what moves a salt.
# It does not prove that nixpkgs' own packages have what is asked of them (a wheel in `dist`), nor how its stdenv, its
# compiler wrappers and its module system behave beyond what is repeated here.
#
# host.nix, which the tests write, says what the host has and which revision each piece is of.
{
  outputs =
    { self }:
    let
      host = import ./host.nix;

      packagesFor =
        system:
        let
          build =
            name: attributes: script:
            derivation (
              {
                inherit name system;
                builder = "/bin/bash";
                args = [
                  "-c"
                  "export PATH=/usr/bin:/bin; ${script}\nexit 0"
                ];
              }
              // attributes
            );

          # nixpkgs' wrappers are scripts; a program that only says what the compiler says of itself is the hard case.
          wrapper = name: programs: build name { } ''
            mkdir -p $out/bin
            cp ${./cc.c} main.c
            ${programs}
          '';

          libc = build "glibc" { revision = host.revisions.libc; } ''
            mkdir -p $out/lib
            cp ${host.loader} $out/lib/ld.so
            echo $revision > $out/revision
          '';
          ld = build "binutils" { revision = host.revisions.ld; } ''
            mkdir -p $out/bin
            ln -s ${host.ld} $out/bin/ld
            echo $revision > $out/revision
          '';
          cc = wrapper "gcc-wrapper-${host.revisions.cc}" ''
            for each in cc:${host.gcc} gcc:${host.gcc} c++:${host.gxx} g++:${host.gxx}; do
              gcc "-DPROGRAM=\"''${each#*:}\"" '-DLIBC="${libc}"' '-DLD="${ld}"' main.c -o "$out/bin/''${each%%:*}"
            done
          '';

          program = name: path: build name { revision = host.revisions.${name}; } ''
            mkdir -p $out/bin
            ln -s ${path} $out/bin/${name}
            echo $revision > $out/revision
          '';

          wheel = name: build "python3-${name}" { } "mkdir $out" // {
            dist = build "python3-${name}-dist" { wheel = ./wheels + "/${name}"; } "cp -r $wheel $out";
          };

          # What setup.sh, the wrappers' hooks and reproducible-builds.sh do, as far as a salt can see it.
          setup = build "stdenv" { inherit cc libc ld; } ''
            mkdir $out
            {
              echo "export PATH=/usr/bin:/bin NIX_CC=$cc NIX_BINTOOLS=$ld NIX_HARDENING_ENABLE='fortify pic'"
              echo 'for each in '"$ld $cc"' $packages; do PATH=$each/bin:$PATH; done'
              echo 'seed=''${out##*/}; export NIX_CFLAGS_COMPILE=" -frandom-seed=''${seed:0:10}"'
              echo 'export NIX_LDFLAGS="-rpath $out/lib  -L'"$libc"'/lib"'
              echo 'runHook() { eval "''${!1}"; }'
            } > $out/setup
          '';

          lib = import ./lib.nix;
        in
        {
          inherit lib;

          stdenv = {
            inherit cc;
          };

          rustc = program "rustc" host.rustc;
          cargo = program "cargo" host.cargo;
          clippy = program "clippy" host.clippy;
          linter = program "linter" "/bin/true";
          openssl = build "openssl" { } "mkdir -p $out/lib";
          pkg-config = build "pkg-config" { } "mkdir -p $out/bin; ln -s /bin/true $out/bin/pkg-config";
          nixfmt = build "nixfmt" { } "mkdir -p $out/bin; ln -s /bin/true $out/bin/nixfmt";
          bashInteractive = build "bash-interactive" { } "mkdir -p $out/bin; ln -s /bin/bash $out/bin/bash";

          python3 = build "python3" { } "mkdir -p $out/bin; ln -s ${host.python} $out/bin/python3" // {
            pkgs = builtins.listToAttrs (
              map (name: {
                inherit name;
                value = wheel name;
              }) host.wheels
            );
          };

          runCommand =
            name: attributes: script:
            build name (builtins.removeAttrs attributes [ "meta" ]) "set -e\n${script}";

          mkShell = attributes: build "nix-shell" (attributes // { stdenv = setup; outputs = [ "out" ]; }) "mkdir $out";

          formats.toml = { }: {
            generate = name: value: build name { json = builtins.toJSON value; } "echo \"$json\" > $out";
          };
        };

      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
    in
    {
      legacyPackages = builtins.listToAttrs (
        map (system: {
          name = system;
          value = packagesFor system;
        }) systems
      );
      lib = import ./lib.nix;
    };
}
