"""The options of GCC and of Clang's GNU-like driver that kache knows, as data.

Owns which option is in the key as it stands, and which is refused for what reason. What is in neither table is not
known, and a compile with it is not cached. cc.py knows the options that need more than a name: those with a meaning of
their own (-o, -x, -MD), those of the preprocessor, and families (-W, -O, -g, -std=).

An option stands without ``no-``; one that takes a value ends with ``=``. Each name has a blank on both sides, so that
``" NAME " in KEYED`` is the question: a search through text costs a hit less than a set of a thousand words, which
would have to be built first.

Source: the manuals of GCC 12 ("Option Summary") and Clang 14 ("Clang command line argument reference"), and what
``gcc --help=common,optimizers,warnings,target,params,c,c++`` (also for Arm) and ``clang --help-hidden`` print.

An option may stand in KEYED only if it reads and writes no file, and means the same on every machine.
"""

# In the key as it stands. A number behind an option of debug information (-ggdb3, -gdwarf-4) is part of its name.
KEYED = (

    " --end-no-unused-arguments --gcc-toolchain= --no-system-header-prefix= --start-no-unused-arguments "
    "--system-header-prefix= -G -Ofast -Qn -Qunused-arguments -Qy -ansi -canonical-prefixes -cl-denorms-are-zero "
    "-cl-fast-relaxed-math -cl-finite-math-only -cl-fp32-correctly-rounded-divide-sqrt -cl-kernel-arg-info "
    "-cl-mad-enable -cl-no-signed-zeros -cl-no-stdinc -cl-opt-disable -cl-single-precision-constant -cl-std= "
    "-cl-strict-aliasing -cl-uniform-work-group-size -cl-unsafe-math-optimizations "
    "-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang -fPIC -fPIE -faapcs-bitfield-load "
    "-faapcs-bitfield-width -fabi-compat-version= -fabi-version= -faccess-control -fada-spec-parent= -faddrsig "
    "-faggressive-loop-optimizations -falign-functions -falign-functions= -falign-jumps -falign-jumps= "
    "-falign-labels -falign-labels= -falign-loops -falign-loops= -faligned-allocation -faligned-new -faligned-new= "
    "-fall-virtual -fallocation-dce -fallow-editor-placeholders -fallow-parameterless-variadic-functions "
    "-fallow-store-data-races -falt-external-templates -faltivec-src-compat= -fanalyzer -fanalyzer-call-summaries "
    "-fanalyzer-checker= -fanalyzer-feasibility -fanalyzer-fine-grained -fanalyzer-show-duplicate-count "
    "-fanalyzer-state-merge -fanalyzer-state-purge -fanalyzer-transitivity -fanalyzer-verbose-edges "
    "-fanalyzer-verbose-state-changes -fanalyzer-verbosity= -fansi-escape-codes -fapple-kext -fapple-link-rtlib "
    "-fapple-pragma-pack -fapplication-extension -fapprox-func -fargument-alias -fargument-noalias "
    "-fargument-noalias-anything -fargument-noalias-global -fasan-shadow-offset= -fasm -fassociative-math "
    "-fassume-sane-operator-new -fasync-exceptions -fasynchronous-unwind-tables -fauto-inc-dec -fautolink "
    "-fbinutils-version= -fbit-tests -fblocks -fborland-extensions -fbranch-count-reg "
    "-fbranch-target-load-optimize -fbranch-target-load-optimize2 -fbtr-bb-exclusive -fbuilding-libgcc -fbuiltin "
    "-fc++-abi= -fc++-static-destructors -fcaller-saves -fcanonical-system-headers -fcf-protection "
    "-fcf-protection= -fchar8_t -fcheck-data-deps -fcheck-new -fcheck-pointer-bounds -fchecking -fchecking= "
    "-fchkp-check-incomplete-type -fchkp-check-read -fchkp-check-write -fchkp-first-field-has-own-bounds "
    "-fchkp-flexible-struct-trailing-arrays -fchkp-instrument-calls -fchkp-instrument-marked-only "
    "-fchkp-narrow-bounds -fchkp-narrow-to-innermost-array -fchkp-optimize -fchkp-store-bounds "
    "-fchkp-treat-zero-dynamic-size-as-infinite -fchkp-use-fast-string-functions -fchkp-use-nochk-string-functions "
    "-fchkp-use-static-bounds -fchkp-use-static-const-bounds -fchkp-use-wrappers -fchkp-zero-input-bounds-for-main "
    "-fcilkplus -fclang-abi-compat= -fcode-hoisting -fcolor-diagnostics -fcombine-stack-adjustments "
    "-fcomment-block-commands= -fcommon -fcompare-elim -fcomplete-member-pointers -fconcepts "
    "-fconcepts-diagnostics-depth= -fconcepts-ts -fcond-mismatch -fconserve-space -fconserve-stack "
    "-fconstant-cfstrings -fconstexpr-cache-depth= -fconstexpr-depth= -fconstexpr-fp-except "
    "-fconstexpr-loop-limit= -fconstexpr-ops-limit= -fconvergent-functions -fcoroutines -fcoroutines-ts "
    "-fcprop-registers -fcrash-diagnostics -fcrash-diagnostics-dir= -fcrossjumping -fcse-follow-jumps "
    "-fcse-skip-blocks -fcx-fortran-rules -fcx-limited-range -fcxx-exceptions -fdata-sections -fdbg-cnt= -fdce "
    "-fdebug-compilation-dir= -fdebug-default-version= -fdebug-info-for-profiling -fdebug-macro "
    "-fdebug-prefix-map= -fdebug-ranges-base-address -fdebug-types-section -fdeclone-ctor-dtor -fdeclspec "
    "-fdeduce-init-list -fdefault-inline -fdefer-pop -fdelayed-branch -fdelayed-template-parsing "
    "-fdelete-dead-exceptions -fdelete-null-pointer-checks -fdevirtualize -fdevirtualize-at-ltrans "
    "-fdevirtualize-speculatively -fdiagnostics-absolute-paths -fdiagnostics-color -fdiagnostics-color= "
    "-fdiagnostics-column-origin= -fdiagnostics-column-unit= -fdiagnostics-escape-format= -fdiagnostics-fixit-info "
    "-fdiagnostics-format= -fdiagnostics-generate-patch -fdiagnostics-minimum-margin-width= "
    "-fdiagnostics-parseable-fixits -fdiagnostics-path-format= -fdiagnostics-plain-output "
    "-fdiagnostics-print-source-range-info -fdiagnostics-show-caret -fdiagnostics-show-cwe "
    "-fdiagnostics-show-labels -fdiagnostics-show-line-numbers -fdiagnostics-show-location= "
    "-fdiagnostics-show-note-include-stack -fdiagnostics-show-option -fdiagnostics-show-path-depths "
    "-fdiagnostics-show-template-tree -fdiagnostics-urls= -fdigraphs -fdirect-access-external-data "
    "-fdiscard-value-names -fdollars-in-identifiers -fdouble-square-bracket-attributes -fdse -fdwarf-exceptions "
    "-fdwarf2-cfi-asm -fearly-inlining -felide-constructors -felide-type -feliminate-dwarf2-dups "
    "-feliminate-unused-debug-symbols -feliminate-unused-debug-types -fembed-bitcode "
    "-fembed-bitcode= -femit-all-decls -femit-class-debug-always -femit-struct-debug-baseonly "
    "-femit-struct-debug-detailed= -femit-struct-debug-reduced -femulated-tls -fenforce-eh-specs -fenum-int-equiv "
    "-fexceptions -fexcess-precision= -fexec-charset= -fexpensive-optimizations "
    "-fexperimental-new-constant-interpreter -fexperimental-relative-c++-abi-vtables "
    "-fexperimental-strict-floating-point -fext-numeric-literals -fextend-arguments= -fextended-identifiers "
    "-fextern-tls-init -fexternal-templates -ffast-math -ffat-lto-objects -ffile-compilation-dir= "
    "-ffile-prefix-map= -ffine-grained-bitfield-accesses -ffinite-loops -ffinite-math-only -ffloat-store "
    "-ffold-simple-inlines -ffor-scope -fforce-addr -fforce-dwarf-frame -fforce-emit-vtables -fforce-enable-int128 "
    "-fforward-propagate -ffp-contract= -ffp-exception-behavior= -ffp-int-builtin-inexact -ffp-model= "
    "-ffreestanding -ffriend-injection -ffuchsia-api-level= -ffunction-cse -ffunction-sections -fgcse "
    "-fgcse-after-reload -fgcse-las -fgcse-lm -fgcse-sm -fgimple -fglobal-isel -fgnat-encodings= -fgnu-inline-asm "
    "-fgnu-keywords -fgnu-runtime -fgnu-tm -fgnu-unique -fgnu89-inline -fgnuc-version= -fgraphite "
    "-fgraphite-identity -fguess-branch-probability -fguiding-decls -fhandle-exceptions -fharden-compares "
    "-fharden-conditional-branches -fhoist-adjacent-loads -fhonor-std -fhosted -fhuge-objects -fident "
    "-fif-conversion -fif-conversion2 -fignore-exceptions -fimplement-inlines -fimplicit-constexpr "
    "-fimplicit-inline-templates -fimplicit-templates -findirect-inlining -finhibit-size-directive -finline "
    "-finline-atomics -finline-functions -finline-functions-called-once -finline-hint-functions -finline-limit= "
    "-finline-small-functions -finput-charset= -finstrument-function-entry-bare -finstrument-functions "
    "-finstrument-functions-after-inlining -finstrument-functions-exclude-function-list= -fintegrated-as "
    "-fintegrated-cc1 -fipa-bit-cp -fipa-cp -fipa-cp-alignment -fipa-cp-clone -fipa-icf -fipa-icf-functions "
    "-fipa-icf-variables -fipa-matrix-reorg -fipa-modref -fipa-profile -fipa-pta -fipa-pure-const -fipa-ra "
    "-fipa-reference -fipa-reference-addressable -fipa-sra -fipa-stack-alignment -fipa-strict-aliasing "
    "-fipa-struct-reorg -fipa-vrp -fira-algorithm= -fira-hoist-pressure -fira-loop-pressure -fira-region= "
    "-fira-share-save-slots -fira-share-spill-slots -fisolate-erroneous-paths-attribute "
    "-fisolate-erroneous-paths-dereference -fivopts -fjump-tables -fkeep-gc-roots-live -fkeep-inline-functions "
    "-fkeep-static-consts -fkeep-static-functions -flabels-ok -flarge-source-files -flax-vector-conversions "
    "-flax-vector-conversions= -fleading-underscore -flegacy-pass-manager -flifetime-dse -flifetime-dse= "
    "-flimit-function-alignment -flive-patching -flive-patching= -flive-range-shrinkage -floop-block "
    "-floop-flatten -floop-interchange -floop-nest-optimize -floop-optimize -floop-parallelize-all "
    "-floop-strip-mine -floop-unroll-and-jam -flra-remat -flto -flto-compression-level= -flto-jobs= "
    "-flto-odr-type-merging -flto-partition= -flto= -fmacro-prefix-map= -fmath-errno -fmax-errors= "
    "-fmax-include-depth= -fmax-tokens= -fmax-type-align= -fmerge-all-constants -fmerge-constants "
    "-fmerge-debug-strings -fmessage-length= -fminimize-whitespace -fmodulo-sched -fmodulo-sched-allow-regmoves "
    "-fmove-loop-invariants -fmove-loop-stores -fms-compatibility -fms-compatibility-version= -fms-extensions "
    "-fms-hotpatch -fmsc-version= -fmudflap -fmudflapir -fmudflapth -fnew-abi -fnew-alignment= -fnew-infallible "
    "-fnew-inheriting-ctors -fnew-ttp-matching -fnon-call-exceptions -fnonansi-builtins -fnonnull-objects "
    "-fnothrow-opt -fobjc-arc -fobjc-arc-exceptions -fobjc-disable-direct-methods-for-testing "
    "-fobjc-encode-cxx-class-template-spec -fobjc-exceptions -fobjc-infer-related-result-type -fobjc-runtime= "
    "-fobjc-weak -fomit-frame-pointer -fopenmp -fopenmp-enable-irbuilder -fopenmp-extensions "
    "-fopenmp-implicit-rpath -fopenmp-new-driver -fopenmp-simd -fopenmp-version= -foperator-names "
    "-foptimize-register-move -foptimize-sibling-calls -foptimize-strlen -foptional-diags -fpack-struct "
    "-fpack-struct= -fpartial-inlining -fpascal-strings -fpatchable-function-entry= -fpcc-struct-return "
    "-fpeel-loops -fpeephole -fpeephole2 -fpermissive -fpermitted-flt-eval-methods= -fpic -fpie -fplan9-extensions "
    "-fplt -fpredictive-commoning -fprefetch-loop-arrays -fpreserve-as-comments -fpretty-templates "
    "-fprintf-return-value -fprotect-parens -frandom-seed -frandom-seed= -freciprocal-math -free "
    "-freg-struct-return -fregister-global-dtors-with-atexit -fregmove -frelaxed-template-template-args "
    "-frename-registers -freorder-blocks -freorder-blocks-algorithm= -freorder-blocks-and-partition "
    "-freorder-functions -frequire-return-statement -freroll-loops -frerun-cse-after-loop -frerun-loop-opt "
    "-freschedule-modulo-scheduled-loops -fropi -frounding-math -frtlib-add-rpath -frtti -frtti-data -frwpi "
    "-fsanitize-address-destructor= -fsanitize-address-field-padding= -fsanitize-address-globals-dead-stripping "
    "-fsanitize-address-outline-instrumentation -fsanitize-address-poison-custom-array-cookie "
    "-fsanitize-address-use-after-return= -fsanitize-address-use-after-scope -fsanitize-address-use-odr-indicator "
    "-fsanitize-cfi-canonical-jump-tables -fsanitize-cfi-cross-dso -fsanitize-cfi-icall-generalize-pointers "
    "-fsanitize-coverage= -fsanitize-hwaddress-abi= -fsanitize-hwaddress-experimental-aliasing "
    "-fsanitize-memory-param-retval -fsanitize-memory-track-origins -fsanitize-memory-track-origins= "
    "-fsanitize-memory-use-after-dtor -fsanitize-recover -fsanitize-recover= -fsanitize-sections= -fsanitize-stats "
    "-fsanitize-thread-atomics -fsanitize-thread-func-entry-exit -fsanitize-thread-memory-access -fsanitize-trap "
    "-fsanitize-trap= -fsanitize-undefined-strip-path-components= -fsanitize-undefined-trap-on-error -fsanitize= "
    "-fsched-critical-path-heuristic -fsched-dep-count-heuristic -fsched-group-heuristic -fsched-interblock "
    "-fsched-last-insn-heuristic -fsched-pressure -fsched-rank-heuristic -fsched-spec -fsched-spec-insn-heuristic "
    "-fsched-spec-load -fsched-spec-load-dangerous -fsched-stalled-insns -fsched-stalled-insns-dep "
    "-fsched-stalled-insns-dep= -fsched-stalled-insns= -fsched2-use-superblocks -fsched2-use-traces "
    "-fschedule-fusion -fschedule-insns -fschedule-insns2 -fsection-anchors -fsee -fseh-exceptions "
    "-fsel-sched-pipelining -fsel-sched-pipelining-outer-loops -fsel-sched-reschedule-pipelined "
    "-fselective-scheduling -fselective-scheduling2 -fsemantic-interposition -fshort-enums -fshort-wchar "
    "-fshow-column -fshow-overloads= -fshow-skipped-includes -fshow-source-location -fshrink-wrap "
    "-fshrink-wrap-separate -fsignaling-nans -fsigned-bitfields -fsigned-char -fsigned-zeros -fsimd-cost-model= "
    "-fsingle-precision-constant -fsized-deallocation -fsjlj-exceptions -fslp-vectorize -fspell-checking "
    "-fsplit-dwarf-inlining -fsplit-ivs-in-unroller -fsplit-loops -fsplit-lto-unit -fsplit-machine-functions "
    "-fsplit-paths -fsplit-stack -fsplit-wide-types -fsplit-wide-types-early -fsquangle -fssa-backprop "
    "-fssa-phiopt -fsso-struct= -fstack-check -fstack-check= -fstack-clash-protection -fstack-limit "
    "-fstack-limit-register= -fstack-limit-symbol= -fstack-protector -fstack-protector-all "
    "-fstack-protector-explicit -fstack-protector-strong -fstack-reuse= -fstack-size-section -fstandalone-debug "
    "-fstdarg-opt -fstore-merging -fstrength-reduce -fstrict-aliasing -fstrict-enums -fstrict-float-cast-overflow "
    "-fstrict-overflow -fstrict-prototype -fstrict-return -fstrict-volatile-bitfields -fstrict-vtable-pointers "
    "-fstrong-eval-order -fstrong-eval-order= -fswift-async-fp= -fsync-libcalls -ftabstop= -ftemp-file "
    "-ftemplate-backtrace-limit= -ftemplate-depth= -fthis-is-variable -fthread-jumps -fthreadsafe-statics "
    "-ftls-model= -ftoplevel-reorder -ftracer -ftrack-macro-expansion -ftrack-macro-expansion= -ftrampolines "
    "-ftrap-function= -ftrapping-math -ftrapv -ftrapv-handler= -ftree-bit-ccp -ftree-builtin-call-dce -ftree-ccp "
    "-ftree-ch -ftree-coalesce-inlined-vars -ftree-coalesce-vars -ftree-copy-prop -ftree-copyrename -ftree-cselim "
    "-ftree-dce -ftree-dominator-opts -ftree-dse -ftree-forwprop -ftree-fre -ftree-loop-distribute-patterns "
    "-ftree-loop-distribution -ftree-loop-if-convert -ftree-loop-if-convert-stores -ftree-loop-im "
    "-ftree-loop-ivcanon -ftree-loop-linear -ftree-loop-optimize -ftree-loop-vectorize -ftree-lrs "
    "-ftree-parallelize-loops= -ftree-partial-pre -ftree-phiprop -ftree-pre -ftree-pta -ftree-reassoc "
    "-ftree-salias -ftree-scev-cprop -ftree-sink -ftree-slp-vectorize -ftree-slsr -ftree-sra -ftree-store-ccp "
    "-ftree-store-copy-prop -ftree-switch-conversion -ftree-tail-merge -ftree-ter -ftree-vect-loop-version "
    "-ftree-vectorize -ftree-vectorizer-verbose= -ftree-vrp -ftrigraphs -ftrivial-auto-var-init-stop-after= "
    "-ftrivial-auto-var-init= -funconstrained-commons -funique-basic-block-section-names "
    "-funique-internal-linkage-names -funique-section-names -funit-at-a-time -funroll-all-loops "
    "-funroll-completely-grow-size -funroll-loops -funsafe-loop-optimizations -funsafe-math-optimizations "
    "-funsigned-bitfields -funsigned-char -funswitch-loops -funwind-tables -fuse-cxa-atexit "
    "-fuse-cxa-get-exception-ptr -fuse-init-array -fuse-ld= -fuse-line-directives -fuse-linker-plugin "
    "-fvar-tracking -fvar-tracking-assignments -fvar-tracking-assignments-toggle -fvar-tracking-uninit "
    "-fvariable-expansion-in-unroller -fveclib= -fvect-cost-model -fvect-cost-model= -fvectorize -fverbose-asm "
    "-fversion-loops-for-strides -fvirtual-function-elimination -fvisibility-dllexport= "
    "-fvisibility-externs-dllimport= -fvisibility-externs-nodllstorageclass= -fvisibility-from-dllstorageclass "
    "-fvisibility-global-new-delete-hidden -fvisibility-inlines-hidden "
    "-fvisibility-inlines-hidden-static-local-var -fvisibility-ms-compat -fvisibility-nodllstorageclass= "
    "-fvisibility= -fvpt -fvtable-gc -fvtable-thunks -fvtable-verify= -fwasm-exceptions -fweak -fweb "
    "-fwhole-program -fwhole-program-vtables -fwide-exec-charset= -fworking-directory -fwrapv -fwrapv-pointer "
    "-fwritable-strings -fxl-pragma-pack -fxray-always-emit-customevents -fxray-always-emit-typedevents "
    "-fxray-function-groups= -fxray-function-index -fxray-ignore-loops -fxray-instruction-threshold= "
    "-fxray-instrument -fxray-instrumentation-bundle= -fxray-link-deps -fxray-modes= "
    "-fxray-selected-function-group= -fzee -fzero-call-used-regs= -fzero-initialized-in-bss -fzvector -g "
    "-gas-loc-support -gas-locview-support -gbtf -gcoff -gcolumn-info -gctf "
    "-gdescribe-dies -gdwarf -gdwarf- -gembed-source -ggdb -ggnu-pubnames -ginline-line-tables -ginline-points "
    "-ginternal-reset-location-views -gline-directives-only -gline-tables-only -gpubnames -grecord-gcc-switches "
    "-gstabs -gstabs+ -gstatement-frontiers -gstrict-dwarf -gtoggle -gvariable-location-views "
    "-gvariable-location-views= -gvms -gxcoff -gxcoff+ -gz -gz= -m128bit-long-double -m16 -m32 -m3dnow -m3dnowa "
    "-m64 -m80387 -m8bit-idiv -m96bit-long-double -mabi= -mabicalls -mabm -mabort-on-noreturn "
    "-maccumulate-outgoing-args -maddress-mode= -madx -maes -maix-struct-return -malign-branch-boundary= "
    "-malign-branch= -malign-data= -malign-double -malign-functions= -malign-jumps= -malign-loops= "
    "-malign-stringops -mamdgpu-ieee -mamx-bf16 -mamx-int8 -mamx-tile -mandroid -mapcs -mapcs-frame "
    "-mapcs-reentrant -mapcs-stack-check -march= -marm -masm-syntax-unified -masm= -mavx -mavx2 "
    "-mavx256-split-unaligned-load -mavx256-split-unaligned-store -mavx5124fmaps -mavx5124vnniw -mavx512bf16 "
    "-mavx512bitalg -mavx512bw -mavx512cd -mavx512dq -mavx512er -mavx512f -mavx512fp16 -mavx512ifma -mavx512pf "
    "-mavx512vbmi -mavx512vbmi2 -mavx512vl -mavx512vnni -mavx512vp2intersect -mavx512vpopcntdq -mavxvnni "
    "-mbackchain -mbe32 -mbe8 -mbig-endian -mbionic -mbmi -mbmi2 -mbranch-cost= -mbranch-protection= "
    "-mbranches-within-32B-boundaries -mbti-at-return-twice -mcall-ms2sysv-xlogues -mcallee-super-interworking "
    "-mcaller-super-interworking -mcet-switch -mcld -mcldemote -mclflushopt -mclwb -mclzero -mcmodel= -mcmse "
    "-mcode-object-v3 -mcode-object-version= -mcpu= -mcrc -mcrc32 -mcumode -mcx16 -mdefault -mdirect-extern-access "
    "-mdispatch-scheduler -mdouble= -meabi -membedded-data -menable-experimental-extensions "
    "-menable-unsafe-fp-math -menqcmd -mexec-model= -mexecute-only -mextern-sdata -mf16c -mfancy-math-387 -mfdpic "
    "-mfentry -mfentry-name= -mfentry-section= -mfix-cmse-cve-2021-35465 -mfix-cortex-a53-835769 "
    "-mfix-cortex-a57-aes-1742098 -mfix-cortex-a72-aes-1655431 -mfix-cortex-m3-ldrd -mflip-thumb -mfloat-abi= "
    "-mfma -mfma4 -mforce-drap -mforce-indirect-call -mfp-ret-in-387 -mfp16-format= -mfp32 -mfp64 -mfpmath= -mfpu= "
    "-mfpxx -mfsgsbase -mfunction-return= -mfused-madd -mfxsr -mgeneral-regs-only -mgfni -mglibc -mglobal-merge "
    "-mgpopt -mhard-float -mharden-sls= -mhle -mhreset -mhvx -mhvx-ieee-fp -mhvx-length= -mhvx-qfloat -mhvx= "
    "-miamcu -mibt-seal -mieee-fp -mignore-xcoff-visibility -mimplicit-float -mincoming-stack-boundary= "
    "-mincremental-linker-compatible -mindirect-branch-cs-prefix -mindirect-branch-register -mindirect-branch= "
    "-mindirect-jump= -minline-all-stringops -minline-stringops-dynamically -minstrument-return= -mintel-syntax "
    "-mios-version-min= -mips1 -mips2 -mips3 -mips32 -mips32r2 -mips32r3 -mips32r5 -mips32r6 -mips4 -mips5 -mips64 "
    "-mips64r2 -mips64r3 -mips64r5 -mips64r6 -mkl -mlarge-data-threshold= -mlibarch= -mlittle-endian -mlocal-sdata "
    "-mlong-calls -mlong-double-128 -mlong-double-64 -mlong-double-80 -mlvi-cfi -mlvi-hardening -mlwp -mlzcnt "
    "-mmacosx-version-min= -mmadd4 -mmanual-endbr -mmark-bti-property -mmemcpy-strategy= -mmemops "
    "-mmemset-strategy= -mmitigate-rop -mmmx -mmovbe -mmovdir64b -mmovdiri -mmove-max= -mmovt -mmpx -mms-bitfields "
    "-mmsa -mmt -mmusl -mmwait -mmwaitx -mneeded -mneg-immediates -mneon-for-64bits -mnocrc -mnop-mcount -mnvj "
    "-mnvs -modd-spreg -momit-leaf-frame-pointer -moutline -moutline-atomics -mpacked-stack -mpackets "
    "-mpad-max-prefix-size= -mpc32 -mpc64 -mpc80 -mpclmul -mpcommit -mpconfig -mpic-data-is-text-relative "
    "-mpic-register= -mpku -mpoke-function-name -mpopcnt -mprefer-avx128 -mprefer-vector-width= "
    "-mpreferred-stack-boundary= -mprefetchwt1 -mprfchw -mptwrite -mpure-code -mpush-args -mqdsp6-compat -mrdpid "
    "-mrdrnd -mrdseed -mrecip -mrecip= -mrecord-mcount -mrecord-return -mred-zone -mregparm= -mrelax -mrelax-all "
    "-mrelax-cmpxchg-loop -mrelax-pic-calls -mrestrict-it -mrtd -mrtm -msahf -msave-restore -msched-prolog "
    "-mserialize -mseses -msgx -msha -mshstk -msign-return-address= -msingle-pic-base -mskip-rax-setup "
    "-mslow-flash-data -msmall-data-limit= -msoft-float -msse -msse2 -msse2avx -msse3 -msse4 -msse4.1 -msse4.2 "
    "-msse4a -msse5 -msseregparm -mssse3 -mstack-alignment= -mstack-arg-probe -mstack-probe-size= "
    "-mstack-protector-guard-offset= -mstack-protector-guard-reg= -mstack-protector-guard-symbol= "
    "-mstack-protector-guard= -mstackrealign -mstore-max= -mstrict-align -mstringop-strategy= "
    "-mstructure-size-boundary= -mstv -msve-vector-bits= -msvr4-struct-return -mtargetos= -mtbm -mtgsplit "
    "-mthread-model -mthumb -mthumb-interwork -mtls-dialect= -mtls-direct-seg-refs -mtls-size= -mtp= -mtpcs-frame "
    "-mtpcs-leaf-frame -mtsxldtrk -mtune-ctrl= -mtune= -muclibc -muintr -munaligned-access -munsafe-fp-atomics "
    "-mvaes -mveclibabi= -mvect8-ret-in-mem -mvectorize-with-neon-double -mvectorize-with-neon-quad -mvpclmulqdq "
    "-mvscale-max= -mvscale-min= -mvzeroupper -mwaitpkg -mwavefrontsize64 -mwbnoinvd -mwidekl -mword-relocations "
    "-mx32 -mxop -mxsave -mxsavec -mxsaveopt -mxsaves -no-canonical-prefixes -nobuiltininc -nostdinc -nostdinc++ "
    "-p -pedantic -pedantic-errors -pg -pipe -pthread -rtlib= -shared-libsan -static-libsan -static-openmp -std= "
    "-stdlib= -trigraphs -undef -unwindlib= -v -w "
)

# The same, for all that begins like this.
PREFIXES = (
    "-R",
    "-fbuiltin-",
    "-fcall-saved-",
    "-fcall-used-",
    "-fdisable-",
    "-fenable-",
    "-ffixed-",
    "-finline-limit-",
    "-fname-mangling-version-",
    "-ftemplate-depth-",
)

# Those of KEYED whose value is the next word.
SEPARATE = " -G -meabi -mthread-model "

# (reason, options): structural, nobody can opt in. "-fno-" before one of them is harmless.
REFUSED = (
    (
        "coverage",
        " --coverage --profile -fauto-profile -fauto-profile= -fbranch-probabilities -fcoverage-compilation-dir= "
        "-fcoverage-mapping -fcoverage-prefix-map= -fcs-profile-generate -fcs-profile-generate= -fmemory-profile "
        "-fmemory-profile= -forder-file-instrumentation -fprofile -fprofile-abs-path -fprofile-arcs "
        "-fprofile-correction -fprofile-dir= -fprofile-exclude-files= -fprofile-filter-files= -fprofile-generate "
        "-fprofile-generate= -fprofile-info-section -fprofile-info-section= -fprofile-instr-generate "
        "-fprofile-instr-generate= -fprofile-instr-use -fprofile-instr-use= -fprofile-list= -fprofile-note= "
        "-fprofile-partial-training -fprofile-prefix-map= -fprofile-prefix-path= -fprofile-remapping-file= "
        "-fprofile-reorder-functions -fprofile-report -fprofile-reproducible= -fprofile-sample-accurate "
        "-fprofile-sample-use= -fprofile-update= -fprofile-use -fprofile-use= -fprofile-values "
        "-fpseudo-probe-for-profiling -ftest-coverage -fxray-always-instrument= "
        "-fxray-attr-list= -fxray-never-instrument= ",
    ),
    (
        "plugin",
        " --hipspv-pass-plugin= -fpass-plugin= -fplugin-arg- -fplugin= -iplugindir= ",
    ),
    (
        "modules",
        " --precompile -Mmodules -Mno-modules -emit-interface-stubs -emit-merged-ifs -extract-api "
        "-fbuild-session-file= -fbuild-session-timestamp= -fbuiltin-module-map -fcxx-modules "
        "-fimplicit-module-maps -flang-info-include-translate -flang-info-include-translate-not "
        "-flang-info-include-translate= -flang-info-module-cmi -flang-info-module-cmi= -fmodule-file= "
        "-fmodule-header -fmodule-header= -fmodule-implicit-inline -fmodule-lazy -fmodule-map-file= "
        "-fmodule-mapper= -fmodule-name= -fmodule-only -fmodule-version-ignore -fmodules -fmodules-cache-path= "
        "-fmodules-decluse -fmodules-disable-diagnostic-validation -fmodules-ignore-macro= -fmodules-prune-after= "
        "-fmodules-prune-interval= -fmodules-search-all -fmodules-strict-decluse -fmodules-ts "
        "-fmodules-user-build-path -fmodules-validate-input-files-content "
        "-fmodules-validate-once-per-build-session -fmodules-validate-system-headers -fprebuilt-implicit-modules "
        "-fprebuilt-module-path= -fsystem-module -gmodules "
        "-module-dependency-dir -module-file-info ",
    ),
    (
        "precompiled_header",
        " -emit-ast -fpch-codegen -fpch-debuginfo -fpch-deps -fpch-instantiate-templates -fpch-preprocess "
        "-fpch-validate-input-files-content -fvalidate-ast-input-files-content -include-pch -relocatable-pch "
        "-verify-pch ",
    ),
    (
        "extra_output",
        " -H --analyze --analyzer-output --completion= --dump --dump= --dumpbase --dumpbase-ext --dumpdir --help "
        "--help-hidden --help= --target-help --version -MJ -aux-info -aux-info= -d -dD -dI -dependency-dot "
        "-dependency-file -dsym-dir -dumpbase -dumpbase-ext -dumpdir -fcallgraph-info -fcallgraph-info= "
        "-fcompare-debug -fcompare-debug-second -fdbg-cnt-list -fdebug-cpp -fdiagnostics-hotness-threshold= "
        "-fdiagnostics-format=json-file -fdiagnostics-format=sarif-file -frepo "
        "-fdiagnostics-show-hotness -fdump- -fdump-ada-spec -fdump-ada-spec-slim -fdump-analyzer "
        "-fdump-analyzer-callgraph -fdump-analyzer-exploded-graph -fdump-analyzer-exploded-nodes "
        "-fdump-analyzer-exploded-nodes-2 -fdump-analyzer-exploded-nodes-3 -fdump-analyzer-exploded-paths "
        "-fdump-analyzer-feasibility -fdump-analyzer-json -fdump-analyzer-state-purge -fdump-analyzer-stderr "
        "-fdump-analyzer-supergraph -fdump-analyzer-untracked -fdump-final-insns= -fdump-go-spec= "
        "-fdump-internal-locations -fdump-noaddr -fdump-passes -fdump-unnumbered -fdump-unnumbered-links -fhelp "
        "-fhelp= -fira-verbose= -flto-report -flto-report-wpa -fmem-report -fmem-report-wpa -fopt-info "
        "-foptimization-record-file= -foptimization-record-passes= -fpost-ipa-mem-report -fpre-ipa-mem-report "
        "-fproc-stat-report -fproc-stat-report= -freport-bug -fsave-optimization-record "
        "-fsave-optimization-record= -fsched-verbose= -fself-test= -fstack-usage -fstats -ftarget-help "
        "-fthin-link-bitcode= -fthinlto-index= -ftime-report -ftime-report-details -ftime-report= -ftime-trace "
        "-ftime-trace-granularity= -fversion -fvtv-counts -fvtv-debug -fxref -gen-cdb-fragment-path "
        "-gen-reproducer -help -index-header-map -mdump-tune-features -mprint-tune-info -mverbose-cost-dump "
        "-object-file-name= -print-effective-triple -print-file-name= -print-ivar-layout -print-libgcc-file-name "
        "-print-multiarch -print-prog-name= -print-resource-dir -print-rocm-search-dirs -print-runtime-dir "
        "-print-search-dirs -print-supported-cpus -print-target-triple -print-targets -save-stats -save-stats= "
        "-save-temps -save-temps= "
        "-serialize-diagnostics -time -via-file-asm ",
    ),
    (
        "no_object",
        " -C -CC -MG -MV -P -S -emit-llvm -fdirectives-only -fsyntax-only ",
    ),
    (
        "split_dwarf",
        " -gsplit-dwarf -gsplit-dwarf= ",
    ),
    (
        "flag_reads_file",
        " -fbasic-block-sections= -fembed-offload-object= -finstrument-functions-exclude-file-list= "
        "-fsanitize-blacklist= -fsanitize-coverage-allowlist= -fsanitize-coverage-blacklist= "
        "-fsanitize-coverage-ignorelist= -fsanitize-coverage-whitelist= -fsanitize-ignorelist "
        "-fsanitize-ignorelist= -fsanitize-system-blacklist= "
        "-fsanitize-system-ignorelist= -ivfsoverlay ",
    ),
    (
        "search_path",
        " -F -I- -cxx-isystem -ibuiltininc -iframework -iframeworkwithsysroot -imultiarch -imultilib -iprefix "
        "-isystem-after -iwithprefix -iwithprefixbefore -iwithsysroot -remap -stdlib++-isystem -working-directory ",
    ),
    (
        "other_programs",
        " --config --config-system-dir= --config-user-dir= --driver-mode= --rsp-quoting= -B -b -ccc-arcmt-check "
        "-ccc-arcmt-migrate -ccc-arcmt-modify -ccc-gcc-name -ccc-install-dir -ccc-objcmt-migrate "
        "-ccc-print-bindings "
        "-ccc-print-phases ",
    ),
    (
        "command_line_recorded",
        " -fembed-bitcode-marker -fembed-bitcode=marker -frecord-gcc-switches -gcodeview -gcodeview-ghash ",
    ),
    (
        "assembler",
        " -Xanalyzer -Xarch_device -Xarch_host ",
    ),
    (
        "offload",
        " --amdgpu-arch-tool= --cuda-compile-host-device --cuda-device-only --cuda-host-only --cuda-include-ptx= "
        "--cuda-noopt-device-debug --cuda-path-ignore-env --cuda-path= --gpu-bundle-output --gpu-instrument-lib= "
        "--gpu-max-threads-per-block= --gpu-use-aux-triple-only --hip-device-lib= --hip-link --hip-path= "
        "--hip-version= --libomptarget-amdgcn-bc-path= --libomptarget-nvptx-bc-path= --no-cuda-include-ptx= "
        "--no-cuda-version-check --no-gpu-bundle-output --no-offload-arch= --offload-arch= --offload= "
        "--ptxas-path= --rocm-device-lib-path= --rocm-path= -Xcuda-fatbinary -Xcuda-ptxas -Xopenmp-target "
        "-Xopenmp-target= -cuid= -fcuda-approx-transcendentals -fcuda-short-ptr -fgpu-allow-device-init "
        "-fgpu-defer-diag -fgpu-exclude-wrong-side-overloads -fgpu-flush-denormals-to-zero -fgpu-inline-threshold= "
        "-fgpu-rdc -fgpu-sanitize -fhip-fp32-correctly-rounded-divide-sqrt -fhip-new-launch-api -foffload-abi= "
        "-foffload-lto -foffload-lto= -foffload-options= -fopenacc -fopenacc-dim= -fopenmp-target-debug "
        "-fopenmp-target-new-runtime -fopenmp-targets= "
        "-fsycl -fuse-cuid= -nogpuinc -nogpulib -nohipwrapperinc -sycl-std= ",
    ),
    (
        "language",
        " -ObjC -ObjC++ --emit-static-lib --migrate --verify-debug-info -arcmt-migrate-emit-errors "
        "-arcmt-migrate-report-output "
        "-fpreprocessed -lang-asm -traditional-cpp "
        "-objcmt-allowlist-dir-path= -objcmt-atomic-property -objcmt-migrate-all "
        "-objcmt-migrate-annotation -objcmt-migrate-designated-init -objcmt-migrate-instancetype "
        "-objcmt-migrate-literals -objcmt-migrate-ns-macros -objcmt-migrate-property "
        "-objcmt-migrate-property-dot-syntax -objcmt-migrate-protocol-conformance "
        "-objcmt-migrate-readonly-property -objcmt-migrate-readwrite-property -objcmt-migrate-subscripting "
        "-objcmt-ns-nonatomic-iosonly -objcmt-returns-innerpointer-property -objcmt-whitelist-dir-path= -quiet "
        "-rewrite-legacy-objc -rewrite-objc ",
    ),
    (
        "long_option",
        " --all-warnings --ansi --assert --assert= --comments --comments-in-macros --debug --define-macro "
        "--define-macro= --dependencies --extra-warnings --imacros --imacros= --include --include-barrier "
        "--include-directory --include-directory-after --include-directory-after= --include-directory= "
        "--include-prefix --include-prefix= --include-with-prefix --include-with-prefix-after "
        "--include-with-prefix-after= --include-with-prefix-before --include-with-prefix-before= "
        "--include-with-prefix= --include= --no-line-commands --no-standard-includes --no-warnings --optimize "
        "--output --output-pch= --output= --pedantic --pedantic-errors --preprocess "
        "--print-missing-file-dependencies --trace-includes --traditional-cpp --trigraphs --undefine-macro "
        "--undefine-macro= --user-dependencies --verbose --write-dependencies --write-user-dependencies ",
    ),
)

# All that begins like this is refused.
REFUSED_PREFIXES = (
    ("extra_output", "-d"),
    ("extra_output", "-fdump-"),
    ("extra_output", "-fopt-info-"),
    ("extra_output", "-fproc-stat-report"),
    ("plugin", "-fplugin-arg-"),
    ("offload", "-Xopenmp-target"),
    ("assembler", "-Wa,"),
    ("assembler", "-Wp,"),
)

# Of the assembler's options, those that are in the key as they stand (GNU as manual, "Command-Line Options").
ASSEMBLER = (

    " -Wa,--noexecstack -Wa,--execstack -Wa,--fatal-warnings -Wa,--no-warn -Wa,-W -Wa,--32 -Wa,--64 -Wa,--x32 "
    "-Wa,-mbranches-within-32B-boundaries -Wa,-mimplicit-it=always -Wa,-mimplicit-it=thumb "
    "-Wa,--compress-debug-sections=none -Wa,-mrelax-relocations=no -Wa,-mrelax-relocations=yes "
)
